//! The ways to an API server, and what is said where one leads nowhere.

use std::fs;

use super::super::connect::{Token, service_account, url_of_environment};
use super::*;

fn kubeconfig(folder: &tempfile::TempDir) -> (std::path::PathBuf, ApiServer) {
    let path = folder.path().join("config");
    (path.clone(), ApiServer::Kubeconfig(path))
}

#[tokio::test]
async fn a_kubeconfig_that_is_missing_or_broken_is_named_with_the_remedy() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, server) = kubeconfig(&folder);
    let missing = connect(&server).await.err().expect("no client").to_string();
    fs::write(&path, "clusters: 5").expect("written");
    let broken = connect(&server).await.err().expect("no client").to_string();
    for message in [missing, broken] {
        assert!(
            message.starts_with(&format!("kubeconfig {}: ", path.display())),
            "{message}"
        );
        assert!(
            message.ends_with("pass another one with --kubeconfig"),
            "{message}"
        );
    }
}

#[tokio::test]
async fn a_kubeconfig_with_tls_makes_a_client() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, server) = kubeconfig(&folder);
    let text = "
current-context: one
contexts: [{name: one, context: {cluster: one, user: one}}]
clusters: [{name: one, cluster: {server: 'https://192.0.2.1:6443', insecure-skip-tls-verify: true}}]
users: [{name: one, user: {token: secret}}]
";
    fs::write(&path, text).expect("written");
    connect(&server).await.expect("a client");
}

#[test]
fn the_environment_of_a_pod_names_the_api_server() {
    let check = |host: Option<&str>, port: Option<&str>, expected: Result<&str, &str>| {
        let url = url_of_environment(|name| {
            let value = match name {
                "KUBERNETES_SERVICE_HOST" => host,
                "KUBERNETES_SERVICE_PORT" => port,
                _ => None,
            };
            value.map(str::to_owned)
        });
        match (url, expected) {
            (Ok(url), Ok(expected)) => assert_eq!(url, expected),
            (Err(error), Err(words)) => {
                assert!(error.to_string().contains(words), "{error}");
                assert!(error.to_string().contains("--api-server URL"), "{error}");
            }
            (url, expected) => panic!("{url:?} instead of {expected:?}"),
        }
    };
    check(Some("10.96.0.1"), Some("443"), Ok("https://10.96.0.1:443"));
    check(Some("fd00::1"), Some("6443"), Ok("https://[fd00::1]:6443"));
    check(
        Some("api.example"),
        Some("6443"),
        Ok("https://api.example:6443"),
    );
    check(None, Some("443"), Err("KUBERNETES_SERVICE_HOST is not set"));
    check(
        Some(""),
        Some("443"),
        Err("KUBERNETES_SERVICE_HOST is not set"),
    );
    check(
        Some("10.96.0.1"),
        None,
        Err("KUBERNETES_SERVICE_PORT is not set"),
    );
}

#[tokio::test]
async fn a_service_account_without_certificate_or_with_a_bad_url_is_named_with_the_remedy() {
    let folder = tempfile::tempdir().expect("a folder");
    for url in ["https://10.0.0.1:6443", "https://not a url"] {
        let error = service_account(url, folder.path())
            .await
            .expect_err("no configuration")
            .to_string();
        assert!(
            error.starts_with(&format!("API server {url} with the service account in")),
            "{error}"
        );
        assert!(error.contains("correct --api-server"), "{error}");
    }
}

#[test]
fn a_rotated_token_is_used_for_the_next_request_and_a_missing_one_leaves_the_last() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("token");
    let error = Token::read(path.clone()).expect_err("no token").to_string();
    assert!(
        error.contains("token can't be used") && error.contains(&path.display().to_string()),
        "{error}"
    );
    fs::write(&path, "one\n").expect("written");
    let token = Token::read(path.clone()).expect("a token");
    assert_eq!(token.header(), "Bearer one");
    fs::write(&path, "two").expect("written");
    assert_eq!(token.header(), "Bearer two");
    fs::write(&path, "").expect("written");
    assert_eq!(token.header(), "Bearer two");
    fs::remove_file(&path).expect("removed");
    assert_eq!(token.header(), "Bearer two");
}
