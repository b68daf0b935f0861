//! A pod's volumes as directories on this machine, and where a container sees them. Contents are written once: a ConfigMap
//! that changes afterwards does not change them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};

use k8s_openapi::api::core::v1::{
    Container, DownwardAPIVolumeFile, HostPathVolumeSource, KeyToPath, Pod, VolumeProjection,
};
use kube::ResourceExt;

use super::environment::{Facts, expand, field};
use super::not_yet::NotYet;
use super::objects::{Contents, Objects};

/// What a node's `hostPath` volumes show. Everything below `root` unless told otherwise: pods write nothing to the
/// machine's own directories.
#[derive(Debug, Clone, Default)]
pub(super) struct HostPaths {
    /// Paths of the node, and the directories that stand for them.
    pub mapped: Vec<(PathBuf, PathBuf)>,
    /// Stands for the node's `/`.
    pub root: PathBuf,
}

/// One volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Volume {
    path: PathBuf,
    /// What a mount that is read-only shows instead, if it is there.
    machine: Option<PathBuf>,
    /// Whether mount points may be made in it.
    own: bool,
}

/// One volume as a container sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    /// On this machine.
    pub from: PathBuf,
    /// In the container.
    pub at: PathBuf,
    /// Whether the container can't write.
    pub read_only: bool,
    own: bool,
}

impl HostPaths {
    /// The control group that stands for the node's root group, which all processes of its pods are in.
    pub fn cgroup(&self) -> Option<PathBuf> {
        let mut mapped = self.mapped.iter().rev();
        let (_, stand_in) = mapped.find(|(path, _)| path == Path::new("/sys/fs/cgroup"))?;
        let is_group = stand_in.join("cgroup.threads").exists();
        is_group.then(|| stand_in.clone())
    }

    fn volume(&self, source: &HostPathVolumeSource) -> Result<Volume, NotYet> {
        let wanted = Path::new(&source.path);
        let of = |(path, stand_in): &(PathBuf, PathBuf)| {
            let rest = wanted.strip_prefix(path).ok()?;
            Some((path.components().count(), stand_in.join(rest)))
        };
        let mapped = self
            .mapped
            .iter()
            .filter_map(of)
            .max_by_key(|(length, _)| *length);
        let (path, machine) = match mapped {
            Some((_, path)) => (path, None),
            None => (inside(&self.root, wanted)?, Some(wanted.to_owned())),
        };
        match source.type_.as_deref() {
            Some("File" | "FileOrCreate" | "Socket") if !path.exists() => {
                write(&path, b"")?;
            }
            _ if !path.exists() => make(&path)?,
            _ => {}
        }
        Ok(Volume {
            path,
            machine,
            own: false,
        })
    }
}

impl Mount {
    /// An empty directory below `directory` that everybody may write to.
    pub fn scratch(directory: &Path, at: &Path) -> Result<Mount, NotYet> {
        let name = at.display().to_string().replace('/', "~");
        let from = directory.join(name);
        empty(&from)?;
        Ok(Mount {
            from,
            at: at.to_owned(),
            read_only: false,
            own: true,
        })
    }
}

/// Makes all volumes of a pod below `directory`.
///
/// # Errors
/// When an object that one comes from is not there, or a kind of volume is not known.
pub(super) async fn prepare(
    objects: &Objects,
    pod: &Pod,
    facts: &Facts,
    directory: &Path,
    host: &HostPaths,
) -> Result<BTreeMap<String, Volume>, NotYet> {
    let mut prepared = BTreeMap::new();
    let namespace = pod.namespace().unwrap_or_default();
    let spec = pod.spec.as_ref();
    for volume in spec
        .and_then(|spec| spec.volumes.as_ref())
        .into_iter()
        .flatten()
    {
        let path = inside(directory, Path::new(&volume.name))?;
        let mut own = true;
        if let Some(source) = &volume.host_path {
            prepared.insert(volume.name.clone(), host.volume(source)?);
            continue;
        } else if volume.empty_dir.is_some() {
            empty(&path)?;
        } else if let Some(source) = &volume.config_map {
            let contents = objects
                .config_map(&namespace, &source.name, source.optional)
                .await?;
            write_items(&path, contents, source.items.as_deref(), source.optional)?;
        } else if let Some(source) = &volume.secret {
            let name = source.secret_name.as_deref().unwrap_or_default();
            let contents = objects.secret(&namespace, name, source.optional).await?;
            write_items(&path, contents, source.items.as_deref(), source.optional)?;
        } else if let Some(source) = &volume.downward_api {
            write_fields(&path, pod, facts, source.items.as_deref())?;
        } else if let Some(source) = &volume.projected {
            make(&path)?;
            for part in source.sources.iter().flatten() {
                project(objects, pod, facts, &path, part).await?;
            }
        } else {
            own = false;
        }
        if !own {
            return Err(NotYet::config(format!(
                "the volume {} is of a kind that this kubelet does not know: use configMap, secret, projected, \
                 downwardAPI, emptyDir or hostPath",
                volume.name
            )));
        }
        let machine = None;
        prepared.insert(volume.name.clone(), Volume { path, machine, own });
    }
    Ok(prepared)
}

/// A container's mounts, outer ones first.
///
/// # Errors
/// When it mounts a volume that the pod does not have.
pub(super) fn mounts(
    container: &Container,
    volumes: &BTreeMap<String, Volume>,
    variables: &[(String, String)],
) -> Result<Vec<Mount>, NotYet> {
    let mut mounts = Vec::new();
    for wanted in container.volume_mounts.iter().flatten() {
        let volume = volumes.get(&wanted.name).ok_or_else(|| {
            NotYet::config(format!("the pod has no volume {}: add it", wanted.name))
        })?;
        let read_only = wanted.read_only == Some(true);
        let machine = volume.machine.as_ref().filter(|path| path.exists());
        let base = match machine {
            Some(path) if read_only => path,
            _ => &volume.path,
        };
        let below = match (&wanted.sub_path, &wanted.sub_path_expr) {
            (Some(path), _) => path.clone(),
            (None, Some(expression)) => expand(expression, variables),
            (None, None) => String::new(),
        };
        let from = inside(base, Path::new(&below))?;
        if !from.exists() {
            make(&from)?;
        }
        mounts.push(Mount {
            from,
            at: PathBuf::from(&wanted.mount_path),
            read_only,
            own: volume.own,
        });
    }
    Ok(mounts)
}

/// Puts outer mounts before inner ones, and makes the inner ones' mount points in the outer ones.
///
/// # Errors
/// When a mount point cannot be made.
pub(super) fn nest(mut mounts: Vec<Mount>) -> Result<Vec<Mount>, NotYet> {
    // `/var/run` is a link to `/run`.
    let real = |path: &Path| match path.strip_prefix("/var/run") {
        Ok(rest) => Path::new("/run").join(rest),
        Err(_) => path.to_owned(),
    };
    for mount in &mut mounts {
        mount.at = real(&mount.at);
    }
    mounts.sort_by_key(|mount| mount.at.components().count());
    for (index, outer) in mounts.iter().enumerate().filter(|(_, outer)| outer.own) {
        for inner in &mounts[index + 1..] {
            let Ok(below) = inner.at.strip_prefix(&outer.at) else {
                continue;
            };
            let point = outer.from.join(below);
            match point.exists() {
                true => {}
                false if inner.from.is_dir() => make(&point)?,
                false => write(&point, b"")?,
            }
        }
    }
    Ok(mounts)
}

async fn project(
    objects: &Objects,
    pod: &Pod,
    facts: &Facts,
    directory: &Path,
    part: &VolumeProjection,
) -> Result<(), NotYet> {
    let namespace = pod.namespace().unwrap_or_default();
    if let Some(source) = &part.service_account_token {
        let token = objects.token(pod, source).await?;
        write(
            &inside(directory, Path::new(&source.path))?,
            token.as_bytes(),
        )?;
    }
    if let Some(source) = &part.config_map {
        let contents = objects
            .config_map(&namespace, &source.name, source.optional)
            .await?;
        write_items(
            directory,
            contents,
            source.items.as_deref(),
            source.optional,
        )?;
    }
    if let Some(source) = &part.secret {
        let contents = objects
            .secret(&namespace, &source.name, source.optional)
            .await?;
        write_items(
            directory,
            contents,
            source.items.as_deref(),
            source.optional,
        )?;
    }
    if let Some(source) = &part.downward_api {
        write_fields(directory, pod, facts, source.items.as_deref())?;
    }
    Ok(())
}

fn write_items(
    directory: &Path,
    mut contents: Contents,
    items: Option<&[KeyToPath]>,
    optional: Option<bool>,
) -> Result<(), NotYet> {
    make(directory)?;
    let Some(items) = items else {
        return contents
            .iter()
            .try_for_each(|(key, value)| write(&directory.join(key), value));
    };
    for KeyToPath { key, path, .. } in items {
        match contents.remove(key) {
            Some(value) => write(&inside(directory, Path::new(path))?, &value)?,
            None if optional == Some(true) => {}
            None => {
                return Err(NotYet::config(format!(
                    "there is no key {key} for the file {path}"
                )));
            }
        }
    }
    Ok(())
}

fn write_fields(
    directory: &Path,
    pod: &Pod,
    facts: &Facts,
    items: Option<&[DownwardAPIVolumeFile]>,
) -> Result<(), NotYet> {
    make(directory)?;
    for item in items.unwrap_or_default() {
        if let Some(reference) = &item.field_ref {
            let value = field(pod, &reference.field_path, facts)?;
            write(&inside(directory, Path::new(&item.path))?, value.as_bytes())?;
        }
    }
    Ok(())
}

/// `directory/path`, refused where it would lead out of the directory.
fn inside(directory: &Path, path: &Path) -> Result<PathBuf, NotYet> {
    let mut joined = directory.to_owned();
    for part in path.components() {
        match part {
            Component::Normal(name) => joined.push(name),
            Component::RootDir | Component::CurDir => {}
            _ => {
                return Err(NotYet::config(format!(
                    "{} leads out of its volume",
                    path.display()
                )));
            }
        }
    }
    Ok(joined)
}

fn make(directory: &Path) -> Result<(), NotYet> {
    fs::create_dir_all(directory)
        .map_err(|error| NotYet::config(format!("{}: {error}", directory.display())))
}

/// Makes the directory if it is missing, for everybody to write to.
fn empty(directory: &Path) -> Result<(), NotYet> {
    use std::os::unix::fs::PermissionsExt;
    make(directory)?;
    fs::set_permissions(directory, fs::Permissions::from_mode(0o777))
        .map_err(|error| NotYet::config(format!("{}: {error}", directory.display())))
}

fn write(file: &Path, contents: &[u8]) -> Result<(), NotYet> {
    if let Some(parent) = file.parent() {
        make(parent)?;
    }
    fs::write(file, contents)
        .map_err(|error| NotYet::config(format!("{}: {error}", file.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inner_mounts_find_their_mount_points_in_outer_ones() {
        let directory = tempfile::tempdir().unwrap();
        let outer = Mount::scratch(directory.path(), Path::new("/run")).unwrap();
        let inner = Mount::scratch(directory.path(), Path::new("/var/run/secrets/api")).unwrap();
        let nested = nest(vec![inner.clone(), outer.clone()]).unwrap();
        assert_eq!(nested[0], outer);
        assert_eq!(
            (nested[1].at.as_path(), &nested[1].from),
            (Path::new("/run/secrets/api"), &inner.from)
        );
        assert!(outer.from.join("secrets/api").is_dir());
    }

    #[test]
    fn a_path_stays_in_its_volume() {
        let volume = Path::new("/volume");
        assert_eq!(
            inside(volume, Path::new("/a/./b")),
            Ok(PathBuf::from("/volume/a/b"))
        );
        assert!(inside(volume, Path::new("../etc")).is_err());
    }

    #[test]
    fn a_host_path_is_the_nodes_own_unless_it_is_mapped() {
        let directory = tempfile::tempdir().unwrap();
        let (root, bpffs) = (directory.path().join("root"), directory.path().join("bpf"));
        let host = HostPaths {
            mapped: vec![("/sys/fs/bpf".into(), bpffs.clone())],
            root: root.clone(),
        };
        for (path, expected) in [
            ("/sys/fs/bpf", bpffs.clone()),
            ("/sys/fs/bpf/lb", bpffs.join("lb")),
            ("/etc", root.join("etc")),
        ] {
            let source = HostPathVolumeSource {
                path: path.into(),
                type_: None,
            };
            assert_eq!(host.volume(&source).unwrap().path, expected, "{path}");
        }
    }
}
