//! Other objects than the API server's in lists and in events.

use std::fmt;
use std::sync::Arc;

use serde_json::{Value, json};

/// How an answer is changed on its way.
#[derive(Clone)]
pub enum Edit {
    /// Each object: each of a list's items, and the object of each event.
    Object(Change),
    /// Each list as a whole; events stay.
    List(Change),
}

/// A change in place.
pub type Change = Arc<dyn Fn(&mut Value) + Send + Sync>;

impl Edit {
    /// Puts `value` at a place (RFC 6901, such as `/spec/ports`) of the object with this namespace and name, where it has
    /// that place.
    pub fn of_object(namespace: &str, name: &str, place: &str, value: Value) -> Self {
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        let place = place.to_owned();
        Self::Object(Arc::new(move |object| {
            let meta = &object["metadata"];
            if meta["name"] == name.as_str()
                && meta["namespace"] == namespace.as_str()
                && let Some(at) = object.pointer_mut(&place)
            {
                *at = value.clone();
            }
        }))
    }

    /// Lists have no items.
    pub fn empty_lists() -> Self {
        Self::List(Arc::new(|list| list["items"] = json!([])))
    }

    /// The answer to a list or a get, changed. One that is no JSON stays as it is.
    pub(super) fn answer(edits: &[Edit], body: &[u8]) -> Option<Vec<u8>> {
        let mut answer: Value = serde_json::from_slice(body).ok()?;
        for edit in edits {
            match (edit, answer.get_mut("items").and_then(Value::as_array_mut)) {
                (Edit::Object(change), Some(items)) => items.iter_mut().for_each(|it| change(it)),
                (Edit::Object(change), None) => change(&mut answer),
                (Edit::List(change), Some(_)) => change(&mut answer),
                (Edit::List(_), None) => {}
            }
        }
        Some(answer.to_string().into_bytes())
    }

    /// A watch's event, changed. Bookmarks and errors hold no object.
    pub(super) fn event(edits: &[Edit], line: &[u8]) -> Option<Vec<u8>> {
        let mut event: Value = serde_json::from_slice(line).ok()?;
        if event["type"] == "BOOKMARK" || event["type"] == "ERROR" {
            return None;
        }
        let object = event.get_mut("object")?;
        for edit in edits {
            if let Edit::Object(change) = edit {
                change(object);
            }
        }
        Some((event.to_string() + "\n").into_bytes())
    }
}

impl fmt::Debug for Edit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Object(_) => "Object",
            Self::List(_) => "List",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_named_object_alone_is_changed_in_lists_and_events() {
        let edits = [Edit::of_object("shop", "a", "/spec/ports", json!("eighty"))];
        let object = |name: &str| json!({"metadata": {"namespace": "shop", "name": name}, "spec": {"ports": [80]}});
        let list = json!({"items": [object("a"), object("b")]}).to_string();
        let changed = Edit::answer(&edits, list.as_bytes()).expect("JSON");
        let changed: Value = serde_json::from_slice(&changed).expect("JSON");
        assert_eq!(changed["items"][0]["spec"]["ports"], "eighty");
        assert_eq!(changed["items"][1]["spec"]["ports"], json!([80]));

        let event = json!({"type": "ADDED", "object": object("a")}).to_string();
        let changed = Edit::event(&edits, event.as_bytes()).expect("JSON");
        assert_eq!(changed.last(), Some(&b'\n'));
        let changed: Value = serde_json::from_slice(&changed).expect("JSON");
        assert_eq!(changed["object"]["spec"]["ports"], "eighty");
        let bookmark = json!({"type": "BOOKMARK", "object": object("a")}).to_string();
        assert_eq!(Edit::event(&edits, bookmark.as_bytes()), None);

        let emptied = Edit::answer(&[Edit::empty_lists()], list.as_bytes()).expect("JSON");
        assert_eq!(emptied, br#"{"items":[]}"#);
        let object = object("a").to_string();
        let kept = Edit::answer(&[Edit::empty_lists()], object.as_bytes()).expect("JSON");
        assert_eq!(kept, object.as_bytes());
    }
}
