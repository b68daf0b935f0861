//! What stands for a container's image: a server of this process, or a program of this machine. Nothing is ever pulled.

use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Container;

use super::agnhost::Role;
use super::environment::expand;
use super::not_yet::NotYet;

/// What a container is started as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Launch {
    /// A server of this process.
    Serve(Role),
    /// A program with its arguments, and directories of its image that it writes to.
    Run(Program),
}

/// A program of this machine.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Program {
    /// Its path, or a name to be found in `PATH`.
    pub path: String,
    /// Without the program itself.
    pub arguments: Vec<String>,
    /// Empty at first.
    pub directories: Vec<PathBuf>,
}

/// Image names, by what they begin with (registry left out), and the programs that stand for them.
pub(super) type Images = Vec<(String, PathBuf)>;

/// What to start for a container.
///
/// # Errors
/// When nothing stands for its image and it names no command.
pub(super) fn launch(
    container: &Container,
    images: &Images,
    variables: &[(String, String)],
) -> Result<Launch, NotYet> {
    let words = |words: &Option<Vec<String>>| -> Vec<String> {
        let words = words.iter().flatten();
        words.map(|word| expand(word, variables)).collect()
    };
    let image = container.image.as_deref().unwrap_or_default();
    let (command, arguments) = (words(&container.command), words(&container.args));
    let program = |path: String, arguments| {
        Launch::Run(Program {
            path,
            arguments,
            directories: Vec::new(),
        })
    };
    let name = image.rsplit('/').next().unwrap_or(image);
    let stand_in = images.iter().find(|(prefix, _)| name.starts_with(prefix));
    if let Some((_, path)) = stand_in
        && command
            .first()
            .is_none_or(|first| is_called_alike(first, path))
    {
        let rest = command.into_iter().skip(1).chain(arguments).collect();
        return Ok(program(path.display().to_string(), rest));
    }
    let built_in = |word: &str| {
        command
            .first()
            .is_none_or(|first| is_called_alike(first, Path::new(word)))
    };
    if image.contains("agnhost") && built_in("agnhost") {
        let words: Vec<String> = command.into_iter().skip(1).chain(arguments).collect();
        return Role::parse(&words)
            .map(Launch::Serve)
            .map_err(NotYet::image);
    }
    if name.starts_with("pause") && built_in("pause") {
        return Ok(Launch::Serve(Role::Pause));
    }
    if let Some((first, rest)) = command.split_first() {
        return Ok(program(
            first.clone(),
            rest.iter().cloned().chain(arguments).collect(),
        ));
    }
    if name.starts_with("nginx") {
        let daemon = ["-g", "daemon off; error_log stderr;"].map(str::to_owned);
        return Ok(Launch::Run(Program {
            path: "nginx".into(),
            arguments: if arguments.is_empty() {
                daemon.into()
            } else {
                arguments
            },
            directories: ["/run", "/var/lib/nginx", "/var/log/nginx"]
                .map(PathBuf::from)
                .into(),
        }));
    }
    Err(NotYet::image(format!(
        "nothing stands for the image {image:?}, and images are not pulled: give the container a command of this machine's, \
         or name a program for the image when the kubelet is started"
    )))
}

fn is_called_alike(first: &str, path: &Path) -> bool {
    Path::new(first).file_name() == path.file_name()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(image: &str, command: &[&str], arguments: &[&str]) -> Container {
        let list = |words: &[&str]| Some(words.iter().map(|word| (*word).to_owned()).collect());
        Container {
            image: Some(image.into()),
            command: list(command),
            args: list(arguments),
            ..Container::default()
        }
    }

    #[track_caller]
    fn check(image: &str, command: &[&str], arguments: &[&str], expected: &[&str]) {
        let images = vec![("lb".to_owned(), PathBuf::from("/target/lb"))];
        let variables = [("NODE".to_owned(), "node1".to_owned())];
        let launch = launch(&container(image, command, arguments), &images, &variables);
        let Ok(Launch::Run(program)) = launch else {
            panic!("{launch:?}");
        };
        let words = [vec![program.path], program.arguments].concat();
        assert_eq!(words, expected);
    }

    #[test]
    fn a_container_is_what_its_image_and_command_say() {
        let agent = ["agent", "--node-name=$(NODE)"];
        let started = ["/target/lb", "agent", "--node-name=node1"];
        check("registry.example/lb:0.1", &[], &agent, &started);
        check("lb:0.1", &["/usr/bin/lb"], &agent, &started);
        check("lb:0.1", &["lb", "agent"], &agent[1..], &started);
        check("lb:0.1", &["sh", "-c"], &["true"], &["sh", "-c", "true"]);
        check("agnhost:2", &["curl"], &["-s"], &["curl", "-s"]);
        check("busybox", &["sleep", "1"], &[], &["sleep", "1"]);
    }

    #[test]
    fn an_image_that_nothing_stands_for_is_named() {
        let error = launch(&container("redis:7", &[], &[]), &vec![], &[]).unwrap_err();
        assert!(error.message.contains("\"redis:7\""), "{error}");
    }
}
