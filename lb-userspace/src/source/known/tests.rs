//! The events between what was told and what is.

use super::*;

fn name(name: &str) -> ObjectName {
    ObjectName::new("shop", name)
}

/// A node, which is the smallest kind there is; `zone` is what changes about it.
fn told(node: &str, zone: &str) -> Told<Node> {
    let converted = Converted {
        object: Some(Arc::new(Node {
            name: node.into(),
            zone: Some(zone.into()),
        })),
        problems: Vec::new(),
    };
    Told::new(&name(node), None, &converted)
}

fn refused(node: &str) -> Told<Node> {
    let converted = Converted {
        object: None,
        problems: vec![Problem::NoPort],
    };
    Told::new(&name(node), Some("web.yaml, document 2"), &converted)
}

fn list<const N: usize>(objects: [(&str, Told<Node>); N]) -> BTreeMap<ObjectName, Told<Node>> {
    objects
        .into_iter()
        .map(|(node, told)| (name(node), told))
        .collect()
}

/// Events as words: `+a/zone`, `-` for one that is gone, `!object: number of messages`.
fn words(events: Batch) -> Vec<String> {
    events
        .into_iter()
        .map(|event| match event {
            SourceEvent::Node(Some(node)) => format!(
                "+{}/{}",
                node.name,
                node.zone.as_deref().unwrap_or_default()
            ),
            SourceEvent::Node(None) => "-".into(),
            SourceEvent::Problems { object, messages } => format!("!{object}: {}", messages.len()),
            other => panic!("no event of a node: {other:?}"),
        })
        .collect()
}

#[test]
fn what_did_not_change_is_not_told_again() {
    let mut known = Known::default();
    assert_eq!(words(known.put(name("a"), told("a", "1"))), ["+a/1"]);
    assert_eq!(words(known.put(name("a"), told("a", "1"))), [""; 0]);
    assert_eq!(words(known.put(name("a"), told("a", "2"))), ["+a/2"]);
    assert_eq!(words(known.remove(name("a"))), ["-"]);
    assert_eq!(words(known.remove(name("a"))), [""; 0]);
}

#[test]
fn s_8_a_new_list_becomes_the_changes_with_removals_first() {
    let mut known = Known::default();
    known.replace(list([
        ("a", told("a", "1")),
        ("b", told("b", "1")),
        ("c", told("c", "1")),
    ]));
    let events = known.replace(list([
        ("a", told("a", "1")),
        ("b", told("b", "2")),
        ("d", told("d", "1")),
    ]));
    assert_eq!(words(events), ["-", "+b/2", "+d/1"]);
}

#[test]
fn s_8_the_same_list_again_is_no_change() {
    let mut known = Known::default();
    let objects = || list([("a", told("a", "1")), ("b", refused("b"))]);
    assert_eq!(words(known.replace(objects())), ["+a/1", "!Node shop/b: 1"]);
    assert_eq!(words(known.replace(objects())), [""; 0]);
}

#[test]
fn problems_are_told_once_and_taken_back_when_they_are_solved() {
    let mut known = Known::default();
    let events = known.put(name("a"), refused("a"));
    let SourceEvent::Problems { messages, .. } = &events[0] else {
        panic!("problems come first: {events:?}");
    };
    assert!(
        messages[0].starts_with("Node shop/a (web.yaml, document 2): no port"),
        "{messages:?}"
    );
    assert_eq!(words(known.put(name("a"), refused("a"))), [""; 0]);
    assert_eq!(
        words(known.put(name("a"), told("a", "1"))),
        ["!Node shop/a: 0", "+a/1"]
    );
    known.put(name("b"), refused("b"));
    assert_eq!(words(known.remove(name("b"))), ["!Node shop/b: 0"]);
}
