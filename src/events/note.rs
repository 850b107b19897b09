//! What an owner is told, and the object it is told about.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

/// What an Event may hold: `note` in events.k8s.io/v1.
const MAX_MESSAGE: usize = 1024;
/// Names of objects and groups are no longer, and no label of them is.
const MAX_NAME: usize = 253;

/// Something the owner of a pod, or the author of one of our objects, should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The namespace of what it is about.
    pub namespace: String,
    /// The pod's controller, or the pod itself if it has none; or the object of ours.
    pub about: Reference,
    /// Of what kind the news is.
    pub reason: Reason,
    /// A sentence without the names of single pods, so that the same news of many pods is the same sentence.
    pub message: String,
}

/// An object of the note's namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// Such as `apps/v1`.
    pub api_version: String,
    /// Such as `ReplicaSet`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// What tells it from others that had its name.
    pub uid: String,
}

/// The kinds of news, named as Events name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The webhook added nothing, since the pod can't have sidecars.
    Skipped,
    /// The webhook refused the pod.
    Denied,
    /// A pod runs without the sidecars it asks for.
    Missing,
    /// A pod's sidecars are not those it would get now.
    Outdated,
    /// A pod was evicted, so that its replacement gets its sidecars.
    Evicted,
    /// No more pods are evicted for a while.
    Paused,
    /// A database is as asked for.
    DatabaseReady,
    /// Something is in a database's way.
    DatabaseNotReady,
    /// An object was let go, with its database or without.
    DatabaseReleased,
    /// A `UserList` leaves users out.
    UsersSkipped,
    /// A `UserList` can't be written, or not as its author asked.
    UserListNotReady,
}

impl Reason {
    /// `reason` of an Event.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Skipped => "SidecarsSkipped",
            Self::Denied => "SidecarsDenied",
            Self::Missing => "SidecarsMissing",
            Self::Outdated => "SidecarsOutdated",
            Self::Evicted => "SidecarsRepaired",
            Self::Paused => "SidecarsRepairPaused",
            Self::DatabaseReady => "DatabaseReady",
            Self::DatabaseNotReady => "DatabaseNotReady",
            Self::DatabaseReleased => "DatabaseReleased",
            Self::UsersSkipped => "UsersSkipped",
            Self::UserListNotReady => "UserListNotReady",
        }
    }

    /// `type` of an Event: `Warning` if somebody should look into it.
    #[must_use]
    pub const fn event_type(self) -> &'static str {
        match self {
            Self::Skipped | Self::Outdated | Self::Evicted | Self::DatabaseReady | Self::DatabaseReleased => "Normal",
            Self::Denied | Self::Missing | Self::Paused | Self::DatabaseNotReady | Self::UsersSkipped | Self::UserListNotReady => "Warning",
        }
    }
}

impl Note {
    /// The note with a message that an Event can hold; nothing if what it is about can't be an object. Whoever reaches the
    /// webhook can send it any review, and names become parts of paths.
    #[must_use]
    pub fn checked(mut self) -> Option<Self> {
        let Reference { api_version, kind, name, uid } = &self.about;
        let (group, version) = api_version.split_once('/').unwrap_or(("core", api_version));
        if ![self.namespace.as_str(), group, version, kind, name, uid].into_iter().all(is_name) {
            return None;
        }
        if self.message.len() > MAX_MESSAGE {
            self.message.truncate(self.message.floor_char_boundary(MAX_MESSAGE - '…'.len_utf8()));
            self.message.push('…');
        }
        Some(self)
    }
}

fn is_name(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
    (1..=MAX_NAME).contains(&text.len()) && text.bytes().all(is_allowed) && text.bytes().any(|byte| byte != b'.')
}

impl Reference {
    /// The controller among an object's owners.
    #[must_use]
    pub fn controller(owners: &[OwnerReference]) -> Option<Self> {
        let controller = owners.iter().find(|owner| owner.controller == Some(true))?;
        Some(Self {
            api_version: controller.api_version.clone(),
            kind: controller.kind.clone(),
            name: controller.name.clone(),
            uid: controller.uid.clone(),
        })
    }

    /// The API group: empty for the core group.
    #[must_use]
    pub fn group(&self) -> &str {
        self.api_version.split_once('/').map_or("", |(group, _)| group)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(message: &str) -> Note {
        let about = Reference {
            api_version: "apps/v1".to_owned(),
            kind: "ReplicaSet".to_owned(),
            name: "web-7f9c".to_owned(),
            uid: "0e8f-1".to_owned(),
        };
        Note { namespace: "shop".to_owned(), about, reason: Reason::Denied, message: message.to_owned() }
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let message = note(&"ü".repeat(2000)).checked().unwrap().message;
        assert!(message.len() <= MAX_MESSAGE && message.ends_with("ü…"), "{}", message.len());
        assert_eq!(note("short").checked(), Some(note("short")));
    }

    #[test]
    fn what_can_be_no_object_is_told_nothing() {
        let named = |name: &str| Note { about: Reference { name: name.to_owned(), ..note("").about }, ..note("") }.checked();
        assert!(named(&"x".repeat(253)).is_some());
        for name in ["", "..", "a/../../secrets", "a?b", "a%2fb", &"x".repeat(254)] {
            assert_eq!(named(name), None, "{name}");
        }
        assert_eq!(Note { namespace: "a/b".to_owned(), ..note("") }.checked(), None);
        let of_version =
            |version: &str| Note { about: Reference { api_version: version.to_owned(), ..note("").about }, ..note("") }.checked();
        assert!(of_version("v1").is_some());
        assert_eq!(of_version("apps/v1/x"), None);
    }
}
