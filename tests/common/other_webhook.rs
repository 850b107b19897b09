//! Another injector: a mutating webhook of its own, with its own server and certificate, in the test's process.

use std::{net::SocketAddr, sync::Arc};

use axum::{Json, Router, extract::State, routing::post};
use base64::{Engine, engine::general_purpose::STANDARD};
use hyper::server::conn::http1;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use outrigger::cli::manifests::{Node, yaml_writer};
use outrigger_bed::ControlPlane;
use rcgen::{CertificateParams, KeyPair};
use rustls::{ServerConfig, crypto::aws_lc_rs, pki_types::PrivateKeyDer};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_rustls::TlsAcceptor;

/// One thing an injector does to a pod, given as it is now, as JSON patch operations; none once it is done.
pub(crate) type Mutation = fn(&Value) -> Vec<Value>;

/// A running webhook, registered for pods of one namespace until it is deleted.
pub(crate) struct OtherWebhook {
    /// Ends with this.
    _server: JoinSet<()>,
    cluster: &'static ControlPlane,
    name: String,
}

impl OtherWebhook {
    /// Starts a server for these mutations and registers it for a namespace. Webhooks are called in the order of their
    /// configurations' names.
    pub(crate) async fn register(
        cluster: &'static ControlPlane,
        name: &str,
        namespace: &str,
        reinvocation: &str,
        mutations: &[Mutation],
    ) -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().self_signed(&key).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut server = JoinSet::new();
        server.spawn(serve(listener, acceptor(&certificate, &key), mutations.to_vec()));
        let name = format!("{name}-{namespace}");
        let configuration = configuration(&name, namespace, reinvocation, address, &certificate.pem());
        let manifest = yaml_writer::write_all([Node::from(configuration)].iter());
        drop(cluster.kubectl_with_input(&["apply", "-f", "-"], &manifest).await.success());
        Self { _server: server, cluster, name }
    }

    /// Takes it back, so that the pods of other tests do not wait for it.
    pub(crate) async fn delete(self) {
        drop(self.cluster.kubectl(&["delete", "mutatingwebhookconfiguration", &self.name]).await.success());
    }
}

fn acceptor(certificate: &rcgen::Certificate, key: &KeyPair) -> TlsAcceptor {
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider())).with_safe_default_protocol_versions();
    let config = config.unwrap().with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key).unwrap();
    TlsAcceptor::from(Arc::new(config))
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, mutations: Vec<Mutation>) {
    let router = Router::new().route("/", post(answer)).with_state(Arc::from(mutations));
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, service) = (acceptor.clone(), TowerToHyperService::new(router.clone()));
        connections.spawn(async move {
            let stream = acceptor.accept(stream).await.unwrap();
            // An API server that goes away is no failure of the test.
            drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
        });
    }
}

async fn answer(State(mutations): State<Arc<[Mutation]>>, Json(review): Json<Value>) -> Json<Value> {
    let request = &review["request"];
    let patch: Vec<Value> = mutations.iter().flat_map(|mutation| mutation(&request["object"])).collect();
    Json(json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "response": {
            "uid": request["uid"],
            "allowed": true,
            "patchType": "JSONPatch",
            "patch": STANDARD.encode(Value::from(patch).to_string()),
        },
    }))
}

fn configuration(name: &str, namespace: &str, reinvocation: &str, address: SocketAddr, ca_pem: &str) -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": [{
            "name": "other.example.com",
            "clientConfig": {"url": format!("https://{address}/"), "caBundle": STANDARD.encode(ca_pem)},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"]}],
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
            "reinvocationPolicy": reinvocation,
            "sideEffects": "None",
            "failurePolicy": "Fail",
            "admissionReviewVersions": ["v1"],
        }],
    })
}
