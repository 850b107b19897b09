//! The log line of a denial: who was refused what, and why.

use serde::Deserialize;

use super::review::Refusal;

/// What a review says of its object and author. It is read for the log alone, and a denial is rare: those that are
/// allowed don't pay for it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Subject {
    kind: Kind,
    namespace: String,
    name: String,
    user_info: User,
    dry_run: bool,
    object: Object,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Kind {
    kind: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct User {
    username: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Object {
    metadata: Metadata,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    generate_name: String,
}

impl Subject {
    fn read(review: &str) -> Self {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Review {
            request: Subject,
        }
        // The review was read before; what does not fit here is of another type than Kubernetes has it, and not worth a word.
        serde_json::from_str::<Review>(review).unwrap_or_default().request
    }

    /// Its name, or the beginning of the one it would get.
    fn name(&self) -> String {
        if self.name.is_empty() { format!("{}…", self.object.metadata.generate_name) } else { self.name.clone() }
    }
}

/// Says once in the log that the object of this review is refused.
pub(super) fn log(review: &str, refusal: &Refusal) {
    let subject = Subject::read(review);
    tracing::info!(
        kind = subject.kind.kind,
        namespace = subject.namespace,
        name = subject.name(),
        user = subject.user_info.username,
        dry_run = subject.dry_run,
        reason = refusal.message,
        "denied"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_without_a_name_yet_goes_by_the_beginning_of_it() {
        let read = |request: serde_json::Value| Subject::read(&json!({"request": request}).to_string());
        let named = read(json!({"name": "app", "kind": {"group": "", "kind": "Pod"}, "userInfo": {"username": "ada"}, "dryRun": true}));
        assert_eq!((named.name().as_str(), named.kind.kind.as_str(), named.user_info.username.as_str()), ("app", "Pod", "ada"));
        assert!(named.dry_run);
        assert_eq!(read(json!({"object": {"metadata": {"generateName": "web-"}}})).name(), "web-…");
        assert_eq!(read(json!({"name": 7})).name(), "…", "what can't be read costs nothing but its words");
    }
}
