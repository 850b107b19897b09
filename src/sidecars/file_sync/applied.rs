//! `/applied`: which contents of the mirrored object are in use, in the object's own words. Its writer puts a digest into an annotation, and
//! learns here when everybody has been told of the files that came with it.

use axum::{Json, Router, extract::State, http::StatusCode, routing::get};
use serde_json::{Value, json};

use super::{
    notify::{Applied, Changes, Said},
    object::Payload,
    plan::{Kind, ObjectId},
    settings::AppliedAnnotation,
};
use crate::api::user_list::REMOVED_USERS_KEY;

/// The object that matters, and what it said last.
#[derive(Debug)]
pub(super) struct Tracked {
    which: AppliedAnnotation,
    said: Said,
}

impl Tracked {
    /// Nothing was heard of it yet.
    #[must_use]
    pub(super) fn new(which: AppliedAnnotation) -> Self {
        Self { which, said: Said::default() }
    }

    /// Takes note of what an object says, if it is this one.
    pub(super) fn see(&mut self, payload: &Payload, kind: Kind) {
        if self.is(&payload.id(kind)) {
            let removed = payload.secret_text(REMOVED_USERS_KEY).filter(|_| kind == Kind::Secret).unwrap_or_default();
            self.said = Said {
                digest: payload.annotation(&self.which.annotation).map(str::to_owned),
                removed_users: removed.lines().map(str::to_owned).collect(),
            };
        }
    }

    /// What it said last.
    #[must_use]
    pub(super) fn said(&self) -> Said {
        self.said.clone()
    }

    /// Whether an object is this one.
    pub(super) fn is(&self, id: &ObjectId) -> bool {
        let object = &self.which.object;
        object.name == id.name
            && object.kind.is_none_or(|kind| kind == id.kind)
            && object.namespace.as_ref().is_none_or(|namespace| *namespace == id.namespace)
    }
}

/// `/applied` on the health port: `{"digest": …, "remainingSessions": …}`, or 503 with a reason.
pub(super) fn router(which: &AppliedAnnotation, changes: Changes) -> Router {
    Router::new().route("/applied", get(applied)).with_state((which.annotation.clone(), changes))
}

async fn applied(State((annotation, changes)): State<(String, Changes)>) -> Result<Json<Value>, (StatusCode, String)> {
    match changes.applied() {
        Ok(Applied { digest: Some(digest), remaining }) => Ok(Json(json!({ "digest": digest, "remainingSessions": remaining }))),
        Ok(Applied { digest: None, .. }) => Err((StatusCode::SERVICE_UNAVAILABLE, format!("the object has no annotation {annotation}\n"))),
        Err(why) => Err((StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n"))),
    }
}
