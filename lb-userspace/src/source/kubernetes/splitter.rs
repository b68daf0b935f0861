//! The text of a list, taken apart into its objects while it arrives, so that nobody ever holds all of it: a large cluster's
//! is tens of megabytes. It finds where an object begins and ends; what one says, or whether it is well formed, is its
//! reader's business.

use serde::Deserialize;
use serde::de::IgnoredAny;

/// Why a text is no list.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoList {
    /// The text around the objects does not decode.
    #[error("the list can't be read: {0}")]
    Envelope(serde_json::Error),
    /// An object does not decode, whatever it is taken for.
    #[error("an object of the list can't be read: {0}")]
    Object(serde_json::Error),
    /// Something in the list is no object.
    #[error("the list holds something that is no object")]
    NoObject,
    /// Brackets close that were not open.
    #[error("the list closes what it has not opened")]
    Unbalanced,
}

/// What a list says of itself.
#[derive(Default, PartialEq, Eq, Debug, Deserialize)]
pub(super) struct Metadata {
    #[serde(rename = "resourceVersion")]
    pub(super) version: Option<String>,
    /// What the next page is asked for with.
    #[serde(rename = "continue")]
    pub(super) token: Option<String>,
}

/// A list whose objects are mere numbers.
#[derive(Deserialize)]
struct Envelope {
    metadata: Option<Metadata>,
    /// There but `null` where there is none.
    #[serde(deserialize_with = "Option::deserialize")]
    #[expect(dead_code, reason = "that it is there is what makes a list of it")]
    items: Option<Vec<IgnoredAny>>,
}

/// Takes a list apart.
#[derive(Default, Debug)]
pub(super) struct Splitter {
    /// How many brackets are open.
    depth: usize,
    /// Inside a string.
    quoted: bool,
    /// The last octet was a backslash inside a string.
    escaped: bool,
    /// How many brackets are open around the objects, once they have begun and until they have ended.
    around: Option<usize>,
    /// The part of an object that came in earlier pieces.
    begun: Vec<u8>,
    /// Everything else, with a 0 for each object.
    envelope: Vec<u8>,
}

impl Splitter {
    /// Takes in the next piece and shows every object that it completes to `each`.
    ///
    /// # Errors
    /// When it can't be a piece of a list; those of `each`.
    pub(super) fn push(
        &mut self,
        piece: &[u8],
        mut each: impl FnMut(&[u8]) -> Result<(), NoList>,
    ) -> Result<(), NoList> {
        // Where the object or the piece of the envelope begins that is being read.
        let mut start = 0;
        let mut at = 0;
        while let Some(octet) = piece.get(at) {
            at += 1;
            if self.quoted {
                if self.escaped {
                    self.escaped = false;
                    continue;
                }
                match octet {
                    b'\\' => self.escaped = true,
                    b'"' => self.quoted = false,
                    // Most of a list is in strings.
                    _ => {
                        let rest = &piece[at..];
                        let end = rest.iter().position(|it| matches!(it, b'"' | b'\\'));
                        at += end.unwrap_or(rest.len());
                    }
                }
                continue;
            }
            match octet {
                b'"' => {
                    self.refuse_scalar()?;
                    self.quoted = true;
                }
                b'{' | b'[' => {
                    if self.around == Some(self.depth) {
                        if *octet == b'[' {
                            return Err(NoList::NoObject);
                        }
                        self.envelope.extend_from_slice(&piece[start..at - 1]);
                        start = at - 1;
                    } else if *octet == b'[' && self.depth == 1 {
                        self.envelope.extend_from_slice(&piece[start..at]);
                        start = at;
                        if is_behind_items(&self.envelope) {
                            self.around = Some(2);
                        }
                    }
                    self.depth += 1;
                }
                b'}' | b']' => {
                    self.depth = self.depth.checked_sub(1).ok_or(NoList::Unbalanced)?;
                    let Some(around) = self.around else { continue };
                    if self.depth == around {
                        if self.begun.is_empty() {
                            each(&piece[start..at])?;
                        } else {
                            self.begun.extend_from_slice(&piece[start..at]);
                            each(&self.begun)?;
                            self.begun.clear();
                        }
                        self.envelope.push(b'0');
                        start = at;
                    } else if self.depth < around {
                        self.around = None;
                    }
                }
                b',' | b' ' | b'\n' | b'\r' | b'\t' => {}
                _ => self.refuse_scalar()?,
            }
        }
        let rest = &piece[start..];
        if self.around.is_some_and(|around| self.depth > around) {
            self.begun.extend_from_slice(rest);
        } else {
            self.envelope.extend_from_slice(rest);
        }
        Ok(())
    }

    /// There is no more of it: what the list says of itself.
    ///
    /// # Errors
    /// When it is not whole, or no list.
    pub(super) fn finish(self) -> Result<Metadata, NoList> {
        let envelope: Envelope =
            serde_json::from_slice(&self.envelope).map_err(NoList::Envelope)?;
        Ok(envelope.metadata.unwrap_or_default())
    }

    /// A number or a string may be in an object, but not in its place.
    fn refuse_scalar(&self) -> Result<(), NoList> {
        if self.around == Some(self.depth) {
            return Err(NoList::NoObject);
        }
        Ok(())
    }
}

/// Whether a text ends with `"items": [`.
fn is_behind_items(text: &[u8]) -> bool {
    let before = |text: &'_ [u8], end: &[u8]| -> Option<usize> {
        let rest = text.trim_ascii_end().strip_suffix(end)?;
        Some(rest.len())
    };
    before(text, b"[")
        .and_then(|end| before(&text[..end], b":"))
        .and_then(|end| before(&text[..end], b"\"items\""))
        .is_some()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    /// The objects and what the list says of itself, from a text that comes in pieces of `size` octets.
    fn split(text: &str, size: usize) -> Result<(Vec<Value>, Metadata), NoList> {
        let mut splitter = Splitter::default();
        let mut objects = Vec::new();
        for piece in text.as_bytes().chunks(size) {
            splitter.push(piece, |object| {
                objects.push(serde_json::from_slice(object).map_err(NoList::Object)?);
                Ok(())
            })?;
        }
        Ok((objects, splitter.finish()?))
    }

    fn metadata(version: &str, token: Option<&str>) -> Metadata {
        Metadata {
            version: Some(version.into()),
            token: token.map(str::to_owned),
        }
    }

    #[test]
    fn a_list_is_taken_apart_wherever_it_is_cut() {
        let objects = vec![
            json!({"metadata": {"name": "a", "labels": {"items": "[1]"}}, "items": [{"x": [{}]}, 5]}),
            json!({}),
            json!({"text": "a \"quoted\" } ] \\", "list": [[], [{}]], "ü": null}),
        ];
        let list = json!({
            "apiVersion": "v1", "items": objects, "kind": "List", "zones": [[1], {"a": 2}],
            "metadata": {"resourceVersion": "7", "continue": "two"},
        });
        for text in [
            list.to_string(),
            serde_json::to_string_pretty(&list).unwrap(),
        ] {
            for size in 1..text.len() + 1 {
                let (found, said) = split(&text, size).unwrap();
                assert_eq!(found, objects, "in pieces of {size}");
                assert_eq!(said, metadata("7", Some("two")));
            }
        }
    }

    #[test]
    fn a_list_of_nothing_has_no_objects() {
        for items in ["null", "[]", " [ ] "] {
            let text = format!(r#"{{"items":{items},"metadata":{{"resourceVersion":"1"}}}}"#);
            let (found, said) = split(&text, 3).unwrap();
            assert!(found.is_empty());
            assert_eq!(said, metadata("1", None));
        }
    }

    #[test]
    fn what_is_no_list_or_not_all_of_one_is_refused() {
        for text in [
            "",
            "hello",
            "[]",
            "{}",
            r#"{"kind": "Status", "metadata": {}}"#,
            r#"{"items": [{}"#,
            r#"{"items": [{}]"#,
            r#"{"items": [{} {}]}"#,
            r#"{"items": [{},]}"#,
            r#"{"items": [5]}"#,
            r#"{"items": ["{}"]}"#,
            r#"{"items": [[{}]]}"#,
            r#"{"items": [{"a": }]}"#,
            r#"{"items": {"a": {}}}"#,
            r#"{"items": [{}]}}"#,
            r#"{"items": [{}]} more"#,
        ] {
            for size in [1, 4, 100] {
                assert!(split(text, size).is_err(), "{text} in pieces of {size}");
            }
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in r#"[\[\]{}:," \\a0-9itemsn]{0,60}"#, size in 1_usize..20) {
            let _ = split(&text, size);
            let _ = split(&format!(r#"{{"items": [{text}]}}"#), size);
        }
    }
}
