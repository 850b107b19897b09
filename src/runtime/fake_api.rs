//! An API server in memory, for tests with a clock of their own: it keeps objects and lists them in pages, refuses outdated writes,
//! and takes its time.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use axum::http::{Method, Request, Response, Uri, header};
use kube::{Client, client::Body};
use serde_json::{Value, json};
use tokio::time::sleep;

/// Objects by their path. Clones are the same server.
#[derive(Debug, Clone, Default)]
pub(crate) struct FakeApi(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<String, Value>,
    version: u64,
    writes: Vec<(String, Value)>,
    is_silent: bool,
}

/// What becomes of a request.
#[derive(Debug, Clone)]
pub(crate) enum Fate {
    /// It is done after a while, whether or not its sender still waits, and answered after another.
    Heard { after: Duration, answered_after: Duration },
    /// It is not done, and answered with this code and object.
    Answered(u16, Value),
}

impl Fate {
    /// It is done and answered at once.
    pub(crate) const DONE: Self = Self::Heard { after: Duration::ZERO, answered_after: Duration::ZERO };

    /// It is not done, and answered with this code.
    pub(crate) fn refused(code: u16) -> Self {
        Self::Answered(code, status(code, "Refused"))
    }
}

impl FakeApi {
    /// A client whose requests have this fate, by where they go.
    pub(crate) fn client(&self, fate: impl Fn(&Uri) -> Fate + Send + Sync + 'static) -> Client {
        let (api, fate) = (self.clone(), Arc::new(fate));
        let answer = move |request: Request<Body>| {
            let (api, fate) = (api.clone(), fate(request.uri()));
            async move { Ok::<_, Infallible>(api.answer(request, fate).await) }
        };
        Client::new(tower::service_fn(answer), "default")
    }

    pub(crate) fn object(&self, path: &str) -> Option<Value> {
        self.state().objects.get(path).cloned()
    }

    /// Puts an object there, as another client.
    pub(crate) fn put(&self, path: &str, object: Value) {
        self.state().store(path.to_owned(), object);
    }

    /// Takes an object away, as another client.
    pub(crate) fn remove(&self, path: &str) {
        self.state().objects.remove(path);
    }

    /// All that was written by clients: where, and the request's body.
    pub(crate) fn writes(&self) -> Vec<(String, Value)> {
        self.state().writes.clone()
    }

    /// From now on nothing is heard and nothing is answered.
    pub(crate) fn silence(&self) {
        self.state().is_silent = true;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    async fn answer(&self, request: Request<Body>, fate: Fate) -> Response<Body> {
        let (head, body) = request.into_parts();
        let body = body.collect_bytes().await.unwrap();
        let (after, answered_after) = match fate {
            Fate::Heard { after, answered_after } => (after, answered_after),
            Fate::Answered(code, object) => return response(code, &object),
        };
        let api = self.clone();
        let is_strategic = head.headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/strategic-merge-patch+json");
        let done = tokio::spawn(async move {
            sleep(after).await;
            let mut state = api.state();
            (!state.is_silent).then(|| state.handle(&head.method, &head.uri, &body, is_strategic))
        });
        let Some((code, object)) = done.await.unwrap() else { return std::future::pending().await };
        sleep(answered_after).await;
        if self.state().is_silent {
            return std::future::pending().await;
        }
        response(code, &object)
    }
}

impl State {
    /// An object, or a page of a list.
    fn get(&self, path: &str, query: &str) -> (u16, Value) {
        if let Some(object) = self.objects.get(path) {
            return (200, object.clone());
        }
        if !path.ends_with('s') {
            return (404, status(404, "NotFound"));
        }
        let parameter = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        let after = format!("{path}/{}", parameter("continue").unwrap_or_default());
        let beneath =
            |found: &&String| found.strip_prefix(path).and_then(|name| name.strip_prefix('/')).is_some_and(|name| !name.contains('/'));
        let mut rest = self.objects.iter().filter(|(found, _)| beneath(found) && **found > after).peekable();
        let limit = parameter("limit").map_or(usize::MAX, |limit| limit.parse().unwrap());
        let page: Vec<_> = rest.by_ref().take(limit).collect();
        let last = page.last().map_or("", |(found, _)| found.rsplit('/').next().unwrap());
        let token = if rest.peek().is_some() { last } else { "" };
        let items: Vec<_> = page.iter().map(|(_, object)| (*object).clone()).collect();
        (200, json!({"apiVersion": "v1", "kind": "List", "metadata": {"continue": token}, "items": items}))
    }

    fn store(&mut self, path: String, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.objects.insert(path, object.clone());
        object
    }

    fn handle(&mut self, method: &Method, uri: &Uri, body: &[u8], is_strategic: bool) -> (u16, Value) {
        let path = uri.path();
        if method == Method::GET {
            return self.get(path, uri.query().unwrap_or_default());
        }
        let sent: Value = serde_json::from_slice(body).unwrap();
        if let Some(pod) = path.strip_suffix("/eviction") {
            self.objects.remove(pod);
            self.writes.push((path.to_owned(), sent));
            return (201, status(201, "Evicted"));
        }
        let path = match *method {
            Method::POST => format!("{path}/{}", sent["metadata"]["name"].as_str().unwrap()),
            _ => path.to_owned(),
        };
        let stored = self.objects.get(&path).cloned();
        let written = match (method, stored) {
            (&Method::POST, None) => sent.clone(),
            (&Method::POST, Some(_)) => return (409, status(409, "AlreadyExists")),
            (&Method::PATCH, Some(stored))
                if sent["metadata"].get("resourceVersion").is_some_and(|version| *version != stored["metadata"]["resourceVersion"]) =>
            {
                return (409, status(409, "Conflict"));
            }
            (&Method::PATCH, Some(mut stored)) => {
                let mut change = sent.clone();
                if is_strategic {
                    merge_webhooks(&mut stored, &change["webhooks"]);
                    change.as_object_mut().unwrap().remove("webhooks");
                }
                json_patch::merge(&mut stored, &change);
                stored
            }
            (&Method::PATCH, None) => return (404, status(404, "NotFound")),
            other => panic!("{other:?}"),
        };
        self.writes.push((path.clone(), sent));
        (200, self.store(path, written))
    }
}

/// A strategic merge finds webhooks by their names.
fn merge_webhooks(object: &mut Value, changes: &Value) {
    for change in changes.as_array().unwrap() {
        let webhooks = object["webhooks"].as_array_mut().unwrap();
        let webhook = webhooks.iter_mut().find(|webhook| webhook["name"] == change["name"]).unwrap();
        json_patch::merge(webhook, change);
    }
}

fn status(code: u16, reason: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": reason, "metadata": {}})
}

fn response(code: u16, object: &Value) -> Response<Body> {
    Response::builder().status(code).body(Body::from(object.to_string().into_bytes())).unwrap()
}
