//! `admission.k8s.io/v1`: reading a review in one pass over its bytes, and writing the answer.

use std::{borrow::Cow, collections::BTreeMap};

use base64_simd::STANDARD;
use serde::{Deserialize, Serialize};

use crate::injection::{Patch, Text, json};

/// Deeper than any object Kubernetes knows; what is deeper wants to exhaust somebody's stack.
const MAX_DEPTH: usize = 512;
/// The API server cuts longer warnings (`k8s.io/apiserver`, package `warning`); whole words are kinder.
const MAX_WARNING: usize = 256;

/// Why a body is no review that can be answered.
#[derive(Debug, thiserror::Error)]
pub enum ReviewError {
    /// There is nothing in it.
    #[error("the body is empty: send an AdmissionReview")]
    Empty,
    /// It is no text.
    #[error("the body is not UTF-8")]
    NotUtf8(#[from] std::str::Utf8Error),
    /// It is nested too deeply.
    #[error("the body is nested more than {MAX_DEPTH} levels deep")]
    TooDeep,
    /// It is no review.
    #[error("the body is no AdmissionReview: {0}")]
    Malformed(#[from] serde_json::Error),
    /// It is JSON, and says of itself nothing.
    #[error("the body is no AdmissionReview: it is no object with a kind")]
    NoKind,
    /// It is a review of another version, or something else.
    #[error("this server answers AdmissionReview of admission.k8s.io/v1, not {kind} of {api_version}")]
    OtherVersion {
        /// What it says it is.
        kind: String,
        /// Of which version.
        api_version: String,
    },
    /// It asks nothing.
    #[error("the review has no request with a uid")]
    NoRequest,
}

/// A request to admit an object of type `T`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Request<'a, T> {
    /// What the answer must repeat.
    #[serde(borrow)]
    pub(crate) uid: Text<'a>,
    /// The object's namespace. The object itself may not name it.
    #[serde(borrow, default)]
    pub(crate) namespace: Option<Text<'a>>,
    /// `CREATE`, `UPDATE`, …
    #[serde(borrow, default)]
    pub(crate) operation: Option<Text<'a>>,
    /// The part of the object that is meant, if not the whole.
    #[serde(borrow, default)]
    pub(crate) sub_resource: Option<Text<'a>>,
    /// The object; missing for `DELETE`.
    #[serde(default = "none")]
    pub(crate) object: Option<T>,
    /// The object as it is stored; missing for `CREATE`.
    #[serde(default = "none")]
    pub(crate) old_object: Option<T>,
}

impl<T> Request<'_, T> {
    /// Whether the whole object is meant, not its status, scale or ephemeral containers.
    pub(crate) fn is_for_the_object_itself(&self) -> bool {
        self.sub_resource.as_deref().is_none_or(str::is_empty)
    }
}

const fn none<T>() -> Option<T> {
    None
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", bound(deserialize = "T: Deserialize<'de>"))]
struct Review<'a, T> {
    #[serde(borrow, default)]
    api_version: Text<'a>,
    #[serde(borrow, default)]
    kind: Text<'a>,
    #[serde(borrow, default = "none")]
    request: Option<Request<'a, T>>,
}

/// Checks that a body is text.
pub(crate) fn text(body: &[u8]) -> Result<&str, ReviewError> {
    if body.is_empty() {
        return Err(ReviewError::Empty);
    }
    Ok(std::str::from_utf8(body)?)
}

/// Reads a review whose object is read as `T`.
pub(crate) fn read<'a, T: Deserialize<'a>>(text: &'a str) -> Result<Request<'a, T>, ReviewError> {
    // To serde, a list of values is as good as an object.
    if !text.trim_ascii_start().starts_with('{') {
        return Err(ReviewError::NoKind);
    }
    let review: Review<'a, T> = match json::read(text) {
        Some(review) => review,
        None if exceeds_depth(text.as_bytes()) => return Err(ReviewError::TooDeep),
        None => serde_json::from_str(text)?,
    };
    if review.kind.is_empty() {
        return Err(ReviewError::NoKind);
    }
    if &*review.api_version != "admission.k8s.io/v1" || &*review.kind != "AdmissionReview" {
        return Err(ReviewError::OtherVersion { kind: review.kind.to_string(), api_version: review.api_version.to_string() });
    }
    review.request.filter(|request| !request.uid.is_empty()).ok_or(ReviewError::NoRequest)
}

/// Whether brackets are nested too deeply. Counting them is nearly free and settles it for all but huge objects.
fn exceeds_depth(body: &[u8]) -> bool {
    let opening = body.iter().filter(|byte| matches!(byte, b'{' | b'[')).count();
    opening > MAX_DEPTH && depth(body) > MAX_DEPTH
}

fn depth(body: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut in_string, mut escaped) = (false, false);
    for byte in body {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// What is answered to a review.
#[derive(Debug, Default)]
pub struct Answer {
    /// Why the object is refused; `None` admits it.
    pub refusal: Option<Refusal>,
    /// What is changed about it.
    pub patch: Patch,
    /// What its author reads.
    pub warnings: Vec<String>,
    /// What the audit log keeps, under the webhook's name.
    pub audit: BTreeMap<&'static str, String>,
}

/// Why an object is refused.
#[derive(Debug, Clone, Serialize)]
pub struct Refusal {
    /// What is wrong, and the way out.
    pub message: String,
    /// `metav1.StatusReason`.
    pub reason: &'static str,
    /// The HTTP status the author's client gets.
    pub code: u16,
}

impl Refusal {
    /// The object can't be as it is.
    #[must_use]
    pub const fn invalid(message: String) -> Self {
        Self { message, reason: "Invalid", code: 422 }
    }

    /// The object may not be, whatever it looks like.
    #[must_use]
    pub const fn forbidden(message: String) -> Self {
        Self { message, reason: "Forbidden", code: 403 }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ReviewOut<'a> {
    api_version: &'static str,
    kind: &'static str,
    response: Response<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Response<'a> {
    uid: &'a str,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'a Refusal>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<Cow<'a, str>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    audit_annotations: &'a BTreeMap<&'static str, String>,
}

impl Answer {
    /// The answer to the request of this uid.
    pub fn to_bytes(&self, uid: &str) -> Result<Vec<u8>, serde_json::Error> {
        let review = ReviewOut {
            api_version: "admission.k8s.io/v1",
            kind: "AdmissionReview",
            response: Response {
                uid,
                allowed: self.refusal.is_none(),
                status: self.refusal.as_ref(),
                warnings: self.warnings.iter().map(|warning| shortened(warning)).collect(),
                audit_annotations: &self.audit,
            },
        };
        let mut answer = String::with_capacity(256);
        json::write(&review, &mut answer)?;
        // The API server refuses a patch type without a patch, and the reverse.
        if !self.patch.is_empty() {
            insert_patch(&mut answer, self.patch.as_json());
        }
        Ok(answer.into_bytes())
    }
}

/// Puts a patch into a written answer, as the last members of its response. It is most of the answer, and base64 holds
/// nothing to escape, so it goes there straight.
fn insert_patch(answer: &mut String, patch: &str) {
    const END: &str = "}}";
    answer.truncate(answer.len() - END.len());
    answer.reserve(64 + patch.len().div_ceil(3) * 4);
    answer.push_str(r#","patchType":"JSONPatch","patch":""#);
    STANDARD.encode_append(patch, answer);
    answer.push('"');
    answer.push_str(END);
}

fn shortened(warning: &str) -> Cow<'_, str> {
    const ELLIPSIS: &str = "…";
    if warning.len() <= MAX_WARNING {
        return Cow::Borrowed(warning);
    }
    let end = warning.floor_char_boundary(MAX_WARNING - ELLIPSIS.len());
    Cow::Owned([warning.get(..end).unwrap_or_default(), ELLIPSIS].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn error(body: &[u8]) -> String {
        let read = text(body).and_then(read::<Value>);
        read.unwrap_err().to_string()
    }

    #[test]
    fn what_is_no_review_says_why() {
        let review = |api_version: &str, request: Value| {
            json!({"apiVersion": api_version, "kind": "AdmissionReview", "request": request}).to_string()
        };
        for (body, expected) in [
            (String::new(), "the body is empty"),
            ("{".to_owned(), "EOF while parsing"),
            ("[]".to_owned(), "no object with a kind"),
            (r#"["admission.k8s.io/v1","AdmissionReview",{"uid":"x"}]"#.to_owned(), "no object with a kind"),
            ("{}".to_owned(), "no object with a kind"),
            (r#"{"kind":"Pod","apiVersion":"v1"}"#.to_owned(), "not Pod of v1"),
            (review("admission.k8s.io/v1beta1", json!({"uid": "x"})), "not AdmissionReview of admission.k8s.io/v1beta1"),
            (review("admission.k8s.io/v1", Value::Null), "no request with a uid"),
            (review("admission.k8s.io/v1", json!({"uid": ""})), "no request with a uid"),
            (review("admission.k8s.io/v1", json!({})), "missing field `uid`"),
            (r#"{"kind":"AdmissionReview","kind":"AdmissionReview"}"#.to_owned(), "duplicate field `kind`"),
            (format!("{{\"x\":{}", "[".repeat(100_000)), "nested more than 512"),
            (format!("{{\"x\":{}", "{\"}\":".repeat(100_000)), "nested more than 512"),
        ] {
            assert!(error(body.as_bytes()).contains(expected), "{expected}: {}", error(body.as_bytes()));
        }
        assert_eq!(error(b"{\"kind\":\"\xff\"}"), "the body is not UTF-8");
    }

    #[test]
    fn many_brackets_side_by_side_are_not_deep() {
        assert!(!exceeds_depth("{}".repeat(10_000).as_bytes()));
        assert!(!exceeds_depth(format!("\"{}\"", "[".repeat(10_000)).as_bytes()), "brackets in a text are text");
        assert_eq!(depth(br#"{"a":["\"[",{}]}"#), 3);
    }

    #[test]
    fn a_patch_and_its_type_come_together_or_not_at_all() {
        let answer = |answer: &Answer| serde_json::from_slice::<Value>(&answer.to_bytes("u-1").unwrap()).unwrap();
        let plain = answer(&Answer::default());
        assert_eq!(plain["response"], json!({"uid": "u-1", "allowed": true}));
        assert_eq!(plain["apiVersion"], "admission.k8s.io/v1");
        let mut removal = Patch::default();
        removal.remove("/x").unwrap();
        let patched = answer(&Answer { patch: removal, ..Answer::default() });
        let patch = STANDARD.decode_to_vec(patched["response"]["patch"].as_str().unwrap()).unwrap();
        assert_eq!(patch, br#"[{"op":"remove","path":"/x"}]"#);
        assert_eq!(patched["response"]["patchType"], "JSONPatch");
    }

    #[test]
    fn a_refusal_has_code_and_reason() {
        let answer = Answer { refusal: Some(Refusal::invalid("no".to_owned())), ..Answer::default() };
        let answer: Value = serde_json::from_slice(&answer.to_bytes("u").unwrap()).unwrap();
        assert_eq!(
            answer["response"],
            json!({"uid": "u", "allowed": false, "status": {"message": "no", "reason": "Invalid", "code": 422}})
        );
    }

    #[test]
    fn long_warnings_end_at_a_character() {
        let warning = shortened(&"ü".repeat(200)).into_owned();
        assert!(warning.len() <= MAX_WARNING && warning.ends_with("ü…"), "{warning}");
    }
}
