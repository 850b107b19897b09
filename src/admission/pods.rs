//! The pod webhook: from a review to an answer, without a call to anybody.

use std::{sync::Arc, time::Duration};

use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::Semaphore;

use crate::{
    api::annotations::{INJECT, NamespaceDefaults, SidecarKind},
    cluster::{
        namespaces::{Knowledge, Namespaces},
        snapshot::Snapshot,
    },
    events::recorder::Notes,
    injection::{Context, Decision, Denial, InjectionError, Outcome, Pod, Settings, inject_pod},
    runtime::complaint::with_causes,
};

use super::{
    denial,
    metrics::Verdict,
    news::News,
    review::{self, Answer, Refusal, Request, ReviewError},
    subject::Subject,
};

/// How long a pod waits for its namespace: both come from one `kubectl apply`, and the namespace's event may be on its way.
const NAMESPACE_WAIT: Duration = Duration::from_secs(1);

/// What decides about pods.
#[derive(Debug)]
pub struct Pods {
    /// The installation's settings.
    pub settings: Settings,
    /// What is known of namespaces.
    pub namespaces: Snapshot<Namespaces>,
    /// Where the owners of pods without sidecars are told why.
    pub notes: Notes,
}

impl Pods {
    /// Answers a review of a pod. It waits for its namespace only if there is room in `waiting`.
    pub(crate) async fn answer(&self, text: &str, waiting: &Semaphore) -> Result<(Vec<u8>, Verdict), ReviewError> {
        let request: Request<'_, Pod<'_>> = review::read(text)?;
        let knowledge = self.namespace(request.namespace.as_deref(), &request, waiting).await;
        let (answer, verdict, news) = self.decide(text, &request, knowledge);
        // A refusal is news too.
        if let Some(news) = news {
            self.tell(news, &Subject::read(text), &answer);
        }
        Ok((answer.to_bytes(&request.uid)?, verdict))
    }

    /// Tells the log that a pod was refused, and its owner why it has no sidecars.
    fn tell(&self, news: News, subject: &Subject, answer: &Answer) {
        if let Some(refusal) = &answer.refusal {
            denial::log(subject, refusal);
        }
        if let Some(note) = news.note(subject) {
            self.notes.tell(note);
        }
    }

    /// What is known of the pod's namespace, after a short wait for what is on its way.
    async fn namespace(&self, name: Option<&str>, request: &Request<'_, Pod<'_>>, waiting: &Semaphore) -> Knowledge {
        let Some(name) = name else { return Knowledge::Known(None) };
        // A pod that doesn't ask itself is only sent from a labelled namespace; if we see no label, its event is coming.
        let asks = request.object.as_ref().is_some_and(|pod| pod.annotation(INJECT.name).is_some());
        let awaited = |known: &Knowledge| *known == Knowledge::Awaited || (!asks && *known == Knowledge::Known(None));
        let known = self.namespaces.load().get(name);
        if !awaited(&known) || !creates_a_pod(request) {
            return known;
        }
        let Ok(_place) = waiting.try_acquire() else { return Knowledge::Awaited };
        let arrival = self.namespaces.wait_for(|namespaces| Some(namespaces.get(name)).filter(|known| !awaited(known)));
        tokio::time::timeout(NAMESPACE_WAIT, arrival).await.unwrap_or(Knowledge::Awaited)
    }

    fn decide(&self, text: &str, request: &Request<'_, Pod<'_>>, knowledge: Knowledge) -> (Answer, Verdict, Option<News>) {
        let Some(pod) = request.object.as_ref().filter(|_| creates_a_pod(request)) else {
            return (Answer::default(), Verdict { outcome: "ignored", reason: "not_a_pod_creation" }, None);
        };
        let (defaults, warning) = defaults(knowledge, request.namespace.as_deref().unwrap_or_default());
        let context = Context { defaults: defaults.as_deref(), settings: &self.settings, offline: false };
        let decision = inject_pod(pod, &|| pod_text(text), context);
        let news = News::of(&decision);
        let (mut answer, verdict) = match decision {
            Ok(decision) => answer(decision),
            Err(error) => failed(&error, request.namespace.as_deref()),
        };
        answer.warnings.extend(warning);
        (answer, verdict, news)
    }
}

/// Nothing else is matched by the webhook's rules; whoever sends it gets it back as it is.
fn creates_a_pod(request: &Request<'_, Pod<'_>>) -> bool {
    request.operation.as_deref().is_none_or(|operation| operation == "CREATE") && request.is_for_the_object_itself()
}

fn defaults(knowledge: Knowledge, namespace: &str) -> (Option<Arc<NamespaceDefaults>>, Option<String>) {
    match knowledge {
        Knowledge::Known(defaults) => (defaults, None),
        Knowledge::Awaited => {
            (None, Some(format!("what namespace {namespace} gives is not known yet: defaults it may give were not applied")))
        }
        Knowledge::Unwatched => (None, Some("namespaces can't be watched: defaults they may give were not applied".to_owned())),
    }
}

/// The pod's own text within the review's.
fn pod_text(review: &str) -> Result<&RawValue, serde_json::Error> {
    #[derive(Deserialize)]
    struct Review<'a> {
        #[serde(borrow)]
        request: Object<'a>,
    }
    #[derive(Deserialize)]
    struct Object<'a> {
        #[serde(borrow)]
        object: &'a RawValue,
    }
    serde_json::from_str::<Review<'_>>(review).map(|review| review.request.object)
}

fn answer(decision: Decision) -> (Answer, Verdict) {
    let mut answer = Answer { warnings: decision.warnings, ..Answer::default() };
    let verdict = match decision.outcome {
        Outcome::NotAsked => Verdict { outcome: "not_asked", reason: "" },
        Outcome::Unchanged => Verdict { outcome: "unchanged", reason: "complete" },
        Outcome::LeftAsIs => Verdict { outcome: "unchanged", reason: "other_settings" },
        Outcome::Skipped { reason, patch } => {
            answer.patch = patch;
            answer.audit.insert("skipped", reason.sentence().to_owned());
            Verdict { outcome: "skipped", reason: reason.label() }
        }
        Outcome::Injected { sidecars, patch } => {
            answer.patch = patch;
            answer.audit.insert("injected", sidecars.iter().map(|kind| SidecarKind::as_str(*kind)).collect::<Vec<_>>().join(","));
            Verdict { outcome: "injected", reason: "" }
        }
        Outcome::Denied(denials) => {
            let message = messages(&denials);
            answer.audit.insert("denied", message.clone());
            answer.refusal = Some(Refusal::invalid(message));
            Verdict { outcome: "denied", reason: "" }
        }
    };
    (answer, verdict)
}

pub(super) fn messages(denials: &[Denial]) -> String {
    denials.iter().map(|denial| denial.message.as_str()).collect::<Vec<_>>().join("; ")
}

/// A pod that we fail on starts as it is: a defect of ours must not keep a cluster from starting pods.
fn failed(error: &InjectionError, namespace: Option<&str>) -> (Answer, Verdict) {
    tracing::error!(namespace, error = with_causes(error), "a pod could not be decided about");
    let answer = Answer { warnings: vec![format!("no sidecar was added: {error}")], ..Answer::default() };
    (answer, Verdict { outcome: "failed", reason: "" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::snapshot::{Writer, snapshot};
    use serde_json::{Value, json};
    use std::collections::HashMap;
    use tokio::time::{Instant, sleep};

    const NOT_KNOWN: &str = "what namespace desks gives is not known yet";

    /// The namespace desks as it was before it got its label.
    fn before_the_label() -> (Writer<Namespaces>, Pods) {
        let (writer, namespaces) = snapshot(desks(None));
        (writer, Pods { settings: Settings::default(), namespaces, notes: Notes::nowhere() })
    }

    fn desks(defaults: Option<NamespaceDefaults>) -> Namespaces {
        Namespaces::new(HashMap::from([("desks".to_owned(), defaults.map(Arc::new))]))
    }

    fn labelled() -> Namespaces {
        desks(Some(NamespaceDefaults::from([(INJECT.name.to_owned(), "vnc".to_owned())])))
    }

    fn review(operation: &str, annotations: &Value) -> String {
        let pod = json!({"metadata": {"annotations": annotations}, "spec": {"containers": [{"name": "app"}]}});
        let request = json!({"uid": "u", "namespace": "desks", "operation": operation, "object": pod});
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}).to_string()
    }

    /// The answer, what it was, and how long it took.
    async fn answer(pods: &Pods, review: &str) -> (String, &'static str, Duration) {
        let start = Instant::now();
        let (answer, verdict) = pods.answer(review, &Semaphore::new(1)).await.unwrap();
        (String::from_utf8(answer).unwrap(), verdict.outcome, start.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_pod_that_only_a_labelled_namespace_sends_waits_for_the_label() {
        let (writer, pods) = before_the_label();
        let label_comes = async {
            sleep(NAMESPACE_WAIT / 4).await;
            writer.store(desks(None));
            sleep(NAMESPACE_WAIT / 4).await;
            writer.store(labelled());
        };
        let review = review("CREATE", &json!({}));
        let ((text, outcome, waited), ()) = tokio::join!(answer(&pods, &review), label_comes);
        assert_eq!((outcome, waited), ("injected", NAMESPACE_WAIT / 2));
        assert!(!text.contains(NOT_KNOWN), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_pod_whose_namespace_gets_no_label_in_time_passes_with_a_warning() {
        let (_writer, pods) = before_the_label();
        let (text, outcome, waited) = answer(&pods, &review("CREATE", &json!({}))).await;
        assert_eq!((outcome, waited), ("not_asked", NAMESPACE_WAIT));
        assert!(text.contains(NOT_KNOWN) && text.contains(r#""allowed":true"#), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_nothing_to_wait_for_is_answered_at_once() {
        let (_writer, pods) = before_the_label();
        let asks = json!({INJECT.name: "vnc"});
        for (operation, annotations, expected) in [("CREATE", &asks, "injected"), ("UPDATE", &json!({}), "ignored")] {
            let (text, outcome, waited) = answer(&pods, &review(operation, annotations)).await;
            assert_eq!((outcome, waited), (expected, Duration::ZERO));
            assert!(!text.contains(NOT_KNOWN), "{text}");
        }
    }
}
