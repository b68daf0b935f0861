//! The files that the control plane's programs read: keys, certificates, kubeconfigs, configuration.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::json;

use super::{Options, arguments, audit};
use crate::certificates::{self, Authority};
use crate::kubeconfig::{self, Identity};

/// One directory, which goes with the sandbox.
pub(super) struct Files {
    directory: PathBuf,
    logs: PathBuf,
    admin: PathBuf,
}

impl Files {
    pub(super) fn create(
        directory: &Path,
        authority: &Authority,
        options: &Options,
    ) -> Result<Files> {
        let files = Files {
            directory: directory.to_path_buf(),
            logs: directory.join("logs"),
            admin: directory.join("kubeconfig"),
        };
        fs::create_dir_all(&files.logs).with_context(|| files.logs.display().to_string())?;
        let mut addresses: Vec<IpAddr> = vec![
            Ipv4Addr::LOCALHOST.into(),
            Ipv6Addr::LOCALHOST.into(),
            options.advertise_address,
        ];
        addresses.extend(&options.certificate_addresses);
        let server = authority.server(&addresses)?;
        let [private, public] = certificates::signing_key()?;
        for (path, text) in [
            (files.authority(), authority.pem()),
            (files.server_certificate(), server.certificate),
            (files.server_key(), server.key),
            (files.service_account_key(), private),
            (files.service_account_public_key(), public),
            (files.authentication(), authentication()),
            (files.audit_policy(), audit::policy(&options.audited)),
        ] {
            fs::write(&path, text).context(path)?;
        }
        for (path, identity) in [
            (files.admin.display().to_string(), Identity::Admin),
            (
                files.controller_manager(),
                Identity::user("system:kube-controller-manager"),
            ),
            (files.scheduler(), Identity::user("system:kube-scheduler")),
        ] {
            let text = kubeconfig::write(authority, &identity, arguments::API_SERVER)?;
            fs::write(&path, text.to_string()).context(path)?;
        }
        Ok(files)
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(super) fn logs(&self) -> &Path {
        &self.logs
    }

    pub(super) fn admin(&self) -> &Path {
        &self.admin
    }

    pub(super) fn etcd(&self, options: &Options) -> PathBuf {
        let own = || self.directory.join("etcd");
        options.etcd_directory.clone().unwrap_or_else(own)
    }

    pub(super) fn authority(&self) -> String {
        self.path("ca.crt")
    }

    pub(super) fn server_certificate(&self) -> String {
        self.path("apiserver.crt")
    }

    pub(super) fn server_key(&self) -> String {
        self.path("apiserver.key")
    }

    pub(super) fn service_account_key(&self) -> String {
        self.path("service-account.key")
    }

    pub(super) fn service_account_public_key(&self) -> String {
        self.path("service-account.pub")
    }

    pub(super) fn authentication(&self) -> String {
        self.path("authentication.json")
    }

    pub(super) fn audit_policy(&self) -> String {
        self.path("audit-policy.json")
    }

    pub(super) fn audit_log(&self) -> String {
        self.logs.join("audit.log").display().to_string()
    }

    pub(super) fn controller_manager(&self) -> String {
        self.path("controller-manager.kubeconfig")
    }

    pub(super) fn scheduler(&self) -> String {
        self.path("scheduler.kubeconfig")
    }

    fn path(&self, name: &str) -> String {
        self.directory.join(name).display().to_string()
    }
}

/// Nobody is served without credentials, but for the probes.
fn authentication() -> String {
    let conditions = ["/healthz", "/livez", "/readyz"].map(|path| json!({ "path": path }));
    json!({
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "AuthenticationConfiguration",
        "anonymous": { "enabled": true, "conditions": conditions },
    })
    .to_string()
}
