//! What a set of files says, edit by edit.

use super::*;

/// A Service whose ClusterIP is 10.96.0.`host`.
fn service(name: &str, host: u8) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\n\
         spec: {{clusterIP: 10.96.0.{host}, ports: [{{port: 80}}]}}\n---\n"
    )
}

fn slice(name: &str, service: &str) -> String {
    format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: IPv4\n\
         metadata: {{name: {name}, labels: {{kubernetes.io/service-name: {service}}}}}\n\
         ports: [{{port: 80}}]\nendpoints: [{{addresses: [10.0.0.1]}}]\n---\n"
    )
}

fn node(name: &str, zone: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Node\nmetadata: {{name: {name}, labels: {{topology.kubernetes.io/zone: {zone}}}}}\n---\n"
    )
}

const BROKEN: &str =
    "apiVersion: v1\nkind: Service\nmetadata: {name: broken}\nspec: {ports: http}\n---\n";

/// A catalog for node `one` and what it is given from one step to the next.
struct Fixture(Catalog);

impl Fixture {
    fn new() -> Self {
        Self(Catalog::new(Path::new("/manifests"), "one"))
    }

    /// Reads these files and compares what is told, as words: `+name=address`, `-name`, problems as `!object: messages`.
    #[track_caller]
    fn check(&mut self, files: &[(&str, &str)], expected: &[&str]) {
        let text = |text: &str| match text {
            "UNFINISHED" => Text::Unfinished,
            "UNREADABLE" => Text::Unreadable("Permission denied".into()),
            text => Text::Read(text.into()),
        };
        self.check_read(
            Ok(files
                .iter()
                .map(|(name, words)| (name.to_string(), text(words)))
                .collect()),
            expected,
        );
    }

    #[track_caller]
    fn check_read(&mut self, read: io::Result<Files>, expected: &[&str]) {
        let told = self.0.update(read);
        // It comes with each `synced`, in front of it.
        let told = told
            .iter()
            .filter(|it| **it != SourceEvent::ServiceCidrsKnown);
        let told: Vec<_> = told.map(words).collect();
        let as_expected = told.len() == expected.len()
            && told
                .iter()
                .zip(expected)
                .all(|(told, start)| told.starts_with(start));
        assert!(as_expected, "{told:#?} should start with {expected:#?}");
    }
}

fn words(event: &SourceEvent) -> String {
    match event {
        SourceEvent::Service(name, Some(service)) => format!("+{name}={}", service.cluster_ips[0]),
        SourceEvent::Service(name, None) => format!("-{name}"),
        SourceEvent::EndpointSlice(name, Some(slice)) => {
            format!("+slice {name} of {}", slice.service)
        }
        SourceEvent::EndpointSlice(name, None) => format!("-slice {name}"),
        SourceEvent::Node(node) => format!(
            "node {}",
            node.as_ref()
                .and_then(|node| node.zone.clone())
                .unwrap_or_default()
        ),
        SourceEvent::ServiceCidr(name, Some(object)) => {
            format!("+cidr {name}={}", object.ranges[0])
        }
        SourceEvent::ServiceCidr(name, None) => format!("-cidr {name}"),
        SourceEvent::ServiceCidrsKnown => "cidrs".into(),
        SourceEvent::Synced(unread) if unread.is_nothing() => "synced".into(),
        SourceEvent::Synced(unread) if unread.anything => "synced but for anything".into(),
        SourceEvent::Synced(unread) => {
            let names = |names: &BTreeSet<ObjectName>| {
                Vec::from_iter(names.iter().map(ObjectName::to_string)).join(" ")
            };
            let (services, owners) = (names(&unread.services), names(&unread.owners));
            format!("synced but for [{services}], slices of [{owners}]")
        }
        SourceEvent::Problems { object, messages } => {
            format!("!{object}: {}", messages.join(" | "))
        }
    }
}

#[test]
fn s_8_the_first_reading_tells_everything_and_then_that_it_is_everything() {
    let text = [
        service("a", 1),
        slice("a-1", "a"),
        node("one", "zone-a"),
        node("two", "zone-b"),
    ]
    .concat();
    Fixture::new().check(
        &[("web.yaml", &text)],
        &[
            "node zone-a",
            "+slice default/a-1 of a",
            "+default/a=10.96.0.1",
            "synced",
        ],
    );
    Fixture::new().check(&[], &["synced"]);
}

#[test]
fn s_8_an_edit_tells_the_changes_alone() {
    let mut fixture = Fixture::new();
    let before = [service("a", 1), service("b", 2)].concat();
    fixture.check(
        &[("web.yaml", &before)],
        &["+default/a", "+default/b", "synced"],
    );
    fixture.check(&[("web.yaml", &before)], &[]);
    let after = [service("b", 3), service("c", 4)].concat();
    fixture.check(
        &[("web.yaml", &after)],
        &["-default/a", "+default/b=10.96.0.3", "+default/c"],
    );
    fixture.check(&[("moved.yml", &after)], &[]);
    fixture.check(&[], &["-default/b", "-default/c"]);
}

#[test]
fn the_namespace_is_default_unless_it_is_said() {
    let text = service("a", 1).replace("{name: a}", "{name: a, namespace: shop}");
    Fixture::new().check(&[("web.yaml", &text)], &["+shop/a", "synced"]);
    let empty = service("a", 1).replace("{name: a}", "{name: a, namespace: ''}");
    Fixture::new().check(&[("web.yaml", &empty)], &["+default/a", "synced"]);
}

#[test]
fn a_broken_edit_removes_nothing_and_lets_the_rest_go_on() {
    let mut fixture = Fixture::new();
    let good = [service("a", 1), service("b", 2)].concat();
    fixture.check(
        &[("web.yaml", &good), ("z.yaml", &service("z", 9))],
        &["+default/a", "+default/b", "+default/z", "synced"],
    );
    let broken = [BROKEN, &service("b", 3), &service("c", 4)].concat();
    fixture.check(
        &[("web.yaml", &broken), ("z.yaml", &service("z", 8))],
        &[
            "!file web.yaml: file web.yaml, document 1: line 4, column 15: ",
            "+default/b=10.96.0.3",
            "+default/c=10.96.0.4",
            "+default/z=10.96.0.8",
        ],
    );
    let z = service("z", 8);
    fixture.check(&[("web.yaml", BROKEN), ("z.yaml", &z)], &[]);
    fixture.check(
        &[("web.yaml", &service("b", 3)), ("z.yaml", &z)],
        &["!file web.yaml: ", "-default/a", "-default/c"],
    );
}

#[test]
fn a_file_that_breaks_keeps_what_it_said_until_it_goes() {
    let mut fixture = Fixture::new();
    fixture.check(&[("web.yaml", &service("a", 1))], &["+default/a", "synced"]);
    fixture.check(
        &[("web.yaml", "UNREADABLE")],
        &["!file web.yaml: file web.yaml cannot be read: Permission denied; "],
    );
    fixture.check(
        &[("web.yaml", "spec: [")],
        &["!file web.yaml: file web.yaml, document 1: line 1, column "],
    );
    fixture.check(&[("web.yaml", "UNFINISHED")], &[]);
    fixture.check(&[], &["!file web.yaml: ", "-default/a"]);
}

#[test]
fn s_8_a_first_list_says_what_was_never_read() {
    let slice = slice("broken-1", "broken").replace("[{port: 80}]", "http");
    for (broken, missing) in [
        (BROKEN, "synced but for [default/broken], slices of []"),
        (&*slice, "synced but for [], slices of [default/broken]"),
        ("UNREADABLE", "synced but for anything"),
        ("kind: [", "synced but for anything"),
    ] {
        let mut fixture = Fixture::new();
        let a = service("a", 1);
        fixture.check(
            &[("a.yaml", &a), ("b.yaml", broken)],
            &["!file b.yaml: ", "+default/a", missing],
        );
        let c = service("c", 3);
        fixture.check(
            &[("a.yaml", &a), ("b.yaml", broken), ("c.yaml", &c)],
            &["+default/c"],
        );
        let b = service("b", 2);
        fixture.check(
            &[("a.yaml", &a), ("b.yaml", &b), ("c.yaml", &c)],
            &["!file b.yaml: ", "+default/b", "synced"],
        );
        // What the file defined is known now, and kept.
        fixture.check(
            &[("a.yaml", &a), ("b.yaml", broken), ("c.yaml", &c)],
            &["!file b.yaml: file b.yaml"],
        );
    }
}

#[test]
fn s_8_removing_the_broken_file_completes_the_list() {
    let mut fixture = Fixture::new();
    fixture.check(
        &[("b.yaml", BROKEN)],
        &[
            "!file b.yaml: ",
            "synced but for [default/broken], slices of []",
        ],
    );
    fixture.check(&[], &["!file b.yaml: ", "synced"]);
}

#[test]
fn s_8_a_broken_definition_that_breaks_further_is_still_not_known() {
    let mut fixture = Fixture::new();
    let missing = "synced but for [default/broken], slices of []";
    fixture.check(&[("b.yaml", BROKEN)], &["!file b.yaml: ", missing]);
    fixture.check(&[("b.yaml", "kind: [")], &["!file b.yaml: "]);
    fixture.check(&[("b.yaml", BROKEN)], &["!file b.yaml: "]);
    fixture.check(&[], &["!file b.yaml: ", "synced"]);
    let mut fixture = Fixture::new();
    fixture.check(
        &[("b.yaml", "kind: [")],
        &["!file b.yaml: ", "synced but for anything"],
    );
    fixture.check(&[("b.yaml", BROKEN)], &["!file b.yaml: ", missing]);
}

#[test]
fn a_file_that_is_being_written_stays_as_it_was_read() {
    let mut fixture = Fixture::new();
    fixture.check(
        &[("new.yaml", "UNFINISHED"), ("web.yaml", &service("a", 1))],
        &["+default/a", "synced"],
    );
    fixture.check(
        &[("new.yaml", &service("b", 2)), ("web.yaml", "UNFINISHED")],
        &["+default/b"],
    );
}

#[test]
fn a_directory_that_vanishes_keeps_everything() {
    let mut fixture = Fixture::new();
    let gone = || Err(io::Error::from(io::ErrorKind::NotFound));
    fixture.check(&[("web.yaml", &service("a", 1))], &["+default/a", "synced"]);
    fixture.check_read(
        gone(),
        &["!directory /manifests: directory /manifests cannot be read: "],
    );
    fixture.check_read(gone(), &[]);
    fixture.check(
        &[("web.yaml", &service("a", 2))],
        &["!directory /manifests: ", "+default/a=10.96.0.2"],
    );
}

#[test]
fn of_two_definitions_of_one_object_the_first_counts() {
    let mut fixture = Fixture::new();
    let second = [service("b", 2), service("a", 3)].concat();
    fixture.check(
        &[("1.yaml", &service("a", 1)), ("2.yaml", &second)],
        &[
            "!Service default/a: Service default/a is defined a second time in 2.yaml, document 2, which is ignored; ",
            "+default/a=10.96.0.1",
            "+default/b",
            "synced",
        ],
    );
    fixture.check(
        &[("2.yaml", &second)],
        &["!Service default/a: ", "+default/a=10.96.0.3"],
    );
    let twice = [service("a", 4), service("a", 5)].concat();
    fixture.check(
        &[("2.yaml", &twice)],
        &[
            "-default/b",
            "!Service default/a: Service default/a is defined a second time in 2.yaml, document 2",
            "+default/a=10.96.0.4",
        ],
    );
}

#[test]
fn what_a_broken_file_said_gives_way_to_another_file() {
    let mut fixture = Fixture::new();
    fixture.check(
        &[("1.yaml", &service("a", 1))],
        &["+default/a=10.96.0.1", "synced"],
    );
    fixture.check(
        &[("1.yaml", BROKEN), ("2.yaml", &service("a", 2))],
        &["!file 1.yaml: ", "+default/a=10.96.0.2"],
    );
}

#[test]
fn a_bad_object_is_named_with_its_place() {
    let text = [
        service("a", 1),
        service("b", 2).replace("10.96.0.2", "10.96.0.300"),
    ]
    .concat();
    Fixture::new().check(
        &[("web.yaml", &text)],
        &[
            "+default/a",
            "!Service default/b: Service default/b (web.yaml, document 2): cluster IP \"10.96.0.300\" is not an IP address; ",
            "synced",
        ],
    );
}

#[test]
fn lists_hold_objects_and_a_broken_item_costs_itself_alone() {
    let item = |name: &str, spec: &str| {
        format!("{{\"metadata\": {{\"name\": \"{name}\"}}, \"spec\": {spec}}}")
    };
    let good = "{\"clusterIP\": \"10.96.0.1\", \"ports\": [{\"port\": 80}]}";
    let items = [item("a", good), item("b", "7"), item("c", good)].join(", ");
    let services =
        format!("{{\"apiVersion\": \"v1\", \"kind\": \"ServiceList\", \"items\": [{items}]}}");
    Fixture::new().check(
        &[("all.json", &services)],
        &[
            "!file all.json: file all.json, document 1: item 2 of the list: ",
            "+default/a",
            "+default/c",
            "synced but for [default/b], slices of []",
        ],
    );
    let plain = services
        .replace("ServiceList", "List")
        .replace(
            "{\"metadata\"",
            "{\"apiVersion\": \"v1\", \"kind\": \"Service\", \"metadata\"",
        )
        .replace("\"spec\": 7", "\"spec\": {}");
    Fixture::new().check(
        &[("all.yaml", &plain)],
        &["+default/a", "+default/c", "synced"],
    );
    Fixture::new().check(&[("all.yaml", "apiVersion: v1\nkind: List\n")], &["synced"]);
}

#[test]
fn other_kinds_are_ignored_and_objects_without_an_identity_are_not() {
    let knative = service("a", 1).replace("apiVersion: v1", "apiVersion: serving.knative.dev/v1");
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: []}\n";
    Fixture::new().check(&[("a.yaml", &knative), ("b.yaml", pod)], &["synced"]);
    for (text, words) in [
        (
            service("a", 1).replace("kind: Service", "knid: Service"),
            "it has no kind",
        ),
        (
            service("a", 1).replace("apiVersion", "apiversion"),
            "it has no apiVersion",
        ),
        (
            service("a", 1).replace("name: a", "nmae: a"),
            "it has no metadata.name",
        ),
    ] {
        let expected = format!("!file a.yaml: file a.yaml, document 1: {words}; ");
        Fixture::new().check(
            &[("a.yaml", &text)],
            &[&expected, "synced but for anything"],
        );
    }
}
