//! What a client asked of the API, read from the request's line alone, and how to speak of some requests among all.

use http::{Method, Uri};

/// What is done with objects, as RBAC has it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Verb {
    /// One object is read.
    Get,
    /// All that match are read.
    List,
    /// Changes are followed.
    Watch,
    /// An object is made.
    Create,
    /// An object is replaced.
    Update,
    /// An object is changed in part.
    Patch,
    /// Objects are removed.
    Delete,
    /// None of these, as HEAD and OPTIONS.
    Other,
}

/// One request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Asked {
    /// What is done.
    pub verb: Verb,
    /// With which kind: the plural, and a subresource behind a slash. The whole path where it leads to no object.
    pub resource: String,
    /// In which namespace; none for all of them, and for what is in none.
    pub namespace: Option<String>,
    /// With which object.
    pub name: Option<String>,
    /// `labelSelector`, decoded.
    pub label_selector: Option<String>,
    /// `fieldSelector`, decoded.
    pub field_selector: Option<String>,
    /// `resourceVersion`: the place to watch from.
    pub resource_version: Option<String>,
}

/// Some of all requests.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Requests {
    verb: Option<Verb>,
    resource: Option<String>,
}

impl Asked {
    pub(super) fn of(method: &Method, uri: &Uri) -> Self {
        let mut asked = Self::path(uri.path());
        let mut is_watch = false;
        for (key, value) in form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
            match key.as_ref() {
                "watch" => is_watch = matches!(value.as_ref(), "true" | "1"),
                "labelSelector" => asked.label_selector = Some(value.into_owned()),
                "fieldSelector" => asked.field_selector = Some(value.into_owned()),
                "resourceVersion" => asked.resource_version = Some(value.into_owned()),
                _ => {}
            }
        }
        asked.verb = match *method {
            Method::GET if is_watch => Verb::Watch,
            Method::GET if asked.name.is_some() => Verb::Get,
            Method::GET => Verb::List,
            Method::POST => Verb::Create,
            Method::PUT => Verb::Update,
            Method::PATCH => Verb::Patch,
            Method::DELETE => Verb::Delete,
            _ => Verb::Other,
        };
        asked
    }

    /// As a path says it; the verb is yet to be told.
    fn path(path: &str) -> Self {
        let words: Vec<&str> = path.trim_matches('/').split('/').collect();
        let below = match words[..] {
            ["api", _, ref below @ ..] | ["apis", _, _, ref below @ ..] => below,
            _ => &[],
        };
        let (namespace, below) = match *below {
            ["namespaces", namespace, ref below @ ..] if !below.is_empty() => {
                (Some(namespace), below)
            }
            ref below => (None, below),
        };
        let (resource, name) = match *below {
            [kind] => (kind.to_owned(), None),
            [kind, name] => (kind.to_owned(), Some(name)),
            [kind, name, ref sub @ ..] => (format!("{kind}/{}", sub.join("/")), Some(name)),
            [] => (path.to_owned(), None),
        };
        Self {
            verb: Verb::Other,
            resource,
            namespace: namespace.map(str::to_owned),
            name: name.map(str::to_owned),
            label_selector: None,
            field_selector: None,
            resource_version: None,
        }
    }
}

impl Requests {
    /// Every request.
    pub fn all() -> Self {
        Self::default()
    }

    /// Those for a kind, by its plural.
    pub fn of(resource: &str) -> Self {
        Self {
            resource: Some(resource.to_owned()),
            ..Self::default()
        }
    }

    /// Those of them with this verb.
    pub fn that(mut self, verb: Verb) -> Self {
        self.verb = Some(verb);
        self
    }

    /// Whether a request is one of them.
    pub fn have(&self, asked: &Asked) -> bool {
        self.verb.is_none_or(|verb| verb == asked.verb)
            && self
                .resource
                .as_ref()
                .is_none_or(|resource| *resource == asked.resource)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(method: Method, uri: &str, expected: (Verb, &str, Option<&str>, Option<&str>)) {
        let asked = Asked::of(&method, &uri.parse().expect("a URI"));
        let told = (
            asked.verb,
            asked.resource.as_str(),
            asked.namespace.as_deref(),
            asked.name.as_deref(),
        );
        assert_eq!(told, expected, "{method} {uri}");
    }

    #[test]
    fn verb_kind_and_name_are_read_from_method_and_path() {
        use Verb::*;
        let get = Method::GET;
        check(
            get.clone(),
            "/api/v1/services?limit=500",
            (List, "services", None, None),
        );
        check(
            get.clone(),
            "/api/v1/services?watch=true",
            (Watch, "services", None, None),
        );
        check(
            get.clone(),
            "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices/a?watch=0",
            (Get, "endpointslices", Some("shop"), Some("a")),
        );
        check(
            get.clone(),
            "/api/v1/namespaces/shop",
            (Get, "namespaces", None, Some("shop")),
        );
        check(get, "/version", (List, "/version", None, None));
        check(
            Method::PATCH,
            "/api/v1/namespaces/shop/pods/a/status",
            (Patch, "pods/status", Some("shop"), Some("a")),
        );
        check(
            Method::POST,
            "/apis/events.k8s.io/v1/namespaces/default/events",
            (Create, "events", Some("default"), None),
        );
        check(
            Method::DELETE,
            "/api/v1/nodes/one",
            (Delete, "nodes", None, Some("one")),
        );
    }

    #[test]
    fn selectors_are_decoded() {
        let uri = "/api/v1/services?watch=1&labelSelector=%21a%2Fb&fieldSelector=spec.clusterIP%21%3DNone&resourceVersion=7";
        let asked = Asked::of(&Method::GET, &uri.parse().expect("a URI"));
        assert_eq!(asked.label_selector.as_deref(), Some("!a/b"));
        assert_eq!(
            asked.field_selector.as_deref(),
            Some("spec.clusterIP!=None")
        );
        assert_eq!(asked.resource_version.as_deref(), Some("7"));
    }

    #[test]
    fn requests_are_told_apart_by_verb_and_kind() {
        let asked = Asked::of(
            &Method::GET,
            &"/api/v1/services?watch=1".parse().expect("a URI"),
        );
        for (requests, are_meant) in [
            (Requests::all(), true),
            (Requests::of("services"), true),
            (Requests::of("services").that(Verb::Watch), true),
            (Requests::of("services").that(Verb::List), false),
            (Requests::of("nodes"), false),
            (Requests::all().that(Verb::Watch), true),
        ] {
            assert_eq!(requests.have(&asked), are_meant, "{requests:?}");
        }
    }
}
