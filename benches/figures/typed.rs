//! A webhook on our own transport that decides the usual way: the whole review as types, the pod changed, both diffed.

use std::{fs, net::SocketAddr, path::Path, sync::Arc};

use axum::{Json, Router, extract::State, http::StatusCode, routing::post};
use k8s_openapi::api::core::v1::Pod;
use kube::core::{
    DynamicObject,
    admission::{AdmissionRequest, AdmissionResponse, AdmissionReview},
};
use outrigger::runtime::{patience::Limits, server::serve_tls, shutdown::Shutdown};
use rustls::{
    crypto::aws_lc_rs,
    sign::{CertifiedKey, SingleCertAndKey},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio::net::TcpListener;

use super::{additions::Additions, servers::Files};

/// Serves until it is killed.
pub(crate) fn serve(address: SocketAddr, folder: &Path) {
    let files = Files::in_folder(folder);
    let additions: Additions = serde_json::from_slice(&fs::read(&files.additions).unwrap()).unwrap();
    let certificate = CertificateDer::from_pem_file(&files.certificate).unwrap();
    let key = aws_lc_rs::sign::any_supported_type(&PrivateKeyDer::from_pem_file(&files.key).unwrap()).unwrap();
    let certificate = SingleCertAndKey::from(CertifiedKey::new(vec![certificate], key));
    // A body limit of its own would refuse what ours takes.
    let router =
        Router::new().route("/mutate/pods", post(mutate)).layer(axum::extract::DefaultBodyLimit::disable()).with_state(Arc::new(additions));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind(address).await.unwrap();
        serve_tls(listener, Arc::new(certificate), router, Limits::default(), Shutdown::default()).await.unwrap();
    });
}

async fn mutate(
    State(additions): State<Arc<Additions>>,
    Json(review): Json<AdmissionReview<Pod>>,
) -> Result<Json<AdmissionReview<DynamicObject>>, StatusCode> {
    let request: AdmissionRequest<Pod> = review.try_into().map_err(|_| StatusCode::BAD_REQUEST)?;
    let response = AdmissionResponse::from(&request);
    let before = request.object.as_ref().ok_or(StatusCode::BAD_REQUEST)?;
    let asked = before.metadata.annotations.as_ref().and_then(|annotations| annotations.get("outrigger.dev/inject"));
    let Some(addition) = asked.and_then(|asked| additions.get(asked)) else { return Ok(Json(response.into_review())) };
    let mut pod = before.clone();
    addition.apply_to(&mut pod);
    let patch = json_patch::diff(&serde_json::to_value(before).unwrap(), &serde_json::to_value(&pod).unwrap());
    Ok(Json(response.with_patch(patch).unwrap().into_review()))
}
