//! Traces, for who wants to see where a slow request spent its time. They are sent as OTLP over HTTP to the collector that
//! the environment names, as the `OpenTelemetry` specification has it: `OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_TRACES_SAMPLER`, ….
//!
//! A request never waits for its trace: spans go into a bounded queue, and what finds it full is dropped and counted.

use std::{env, time::Duration};

use axum::http::HeaderMap;
use hyper_rustls::HttpsConnectorBuilder;
use opentelemetry::{
    Context, KeyValue,
    propagation::TextMapPropagator,
    trace::{Span as _, SpanKind, Tracer, TracerProvider},
};
use opentelemetry_http::{HeaderExtractor, hyper::HyperClient};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithHttpConfig};
use opentelemetry_sdk::{
    Resource,
    error::{OTelSdkError, OTelSdkResult},
    propagation::TraceContextPropagator,
    trace::{SdkTracer, SdkTracerProvider, Span, SpanData, SpanExporter as _, SpanProcessor},
};
use prometheus_client::{metrics::counter::Counter, registry::Registry};
use tokio::{
    sync::mpsc,
    time::{Instant, error::Elapsed, timeout},
};

use super::{
    complaint::{Complaint, with_causes},
    shutdown::Shutdown,
};

/// Either says where the collector is.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];
/// Spans that wait for the collector.
const QUEUE: usize = 2048;
/// Spans sent at once.
const BATCH: usize = 512;
/// Spans are collected this long, so that a quiet server does not send each by itself.
const PAUSE: Duration = Duration::from_secs(1);
/// How long the collector may take for one batch, with all attempts.
const EXPORT_DEADLINE: Duration = Duration::from_secs(10);
/// How long a process that ends tries to get rid of its last spans, besides waiting for the requests they are of.
const FLUSH_DEADLINE: Duration = Duration::from_secs(3);

/// Why traces can't be sent.
#[derive(Debug, thiserror::Error)]
pub enum TracesError {
    /// A variable of the environment can't be used.
    #[error("the OTEL_… variables can't be used")]
    Settings(#[from] ExporterBuildError),
    /// The CAs by which a collector behind TLS is trusted can't be loaded.
    #[error("the system's certificates can't be loaded")]
    Roots(#[source] std::io::Error),
}

/// Where requests leave their traces; nowhere, unless the environment names a collector. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Traces {
    tracer: Option<SdkTracer>,
}

/// The request being traced, until it is dropped or ended.
#[derive(Debug)]
pub struct RequestTrace(Option<Span>);

/// Sends what the queue holds.
#[derive(Debug)]
pub struct Export {
    spans: mpsc::Receiver<SpanData>,
    exporter: SpanExporter,
    /// Held as long as spans may come.
    provider: SdkTracerProvider,
}

impl Traces {
    /// What the environment asks for, and the task that does the sending.
    ///
    /// # Errors
    /// A variable is set to something that can't be used.
    pub fn from_environment(registry: &mut Registry) -> Result<(Self, Option<Export>), TracesError> {
        let is_set = |name: &&str| env::var(name).is_ok_and(|value| !value.is_empty());
        let is_off = env::var("OTEL_SDK_DISABLED").is_ok_and(|value| value.eq_ignore_ascii_case("true"))
            || env::var("OTEL_TRACES_EXPORTER").is_ok_and(|value| value == "none");
        if is_off || !ENDPOINTS.iter().any(is_set) {
            return Ok((Self::default(), None));
        }
        let connector =
            HttpsConnectorBuilder::new().with_native_roots().map_err(TracesError::Roots)?.https_or_http().enable_http1().build();
        let client = HyperClient::new(connector, EXPORT_DEADLINE, None);
        let mut exporter = SpanExporter::builder().with_http().with_http_client(client).build()?;
        let resource = resource();
        exporter.set_resource(&resource);
        let dropped = Counter::default();
        registry.register("dropped_spans", "Spans that found the queue to the collector full", dropped.clone());
        let (sender, spans) = mpsc::channel(QUEUE);
        let provider = SdkTracerProvider::builder().with_resource(resource).with_span_processor(Queue { sender, dropped }).build();
        Ok((Self { tracer: Some(provider.tracer("outrigger")) }, Some(Export { spans, exporter, provider })))
    }

    /// Begins to trace a request, as part of its sender's trace if its headers say so
    /// ([W3C Trace Context](https://www.w3.org/TR/trace-context/)).
    #[must_use]
    pub fn begin(&self, name: &'static str, headers: &HeaderMap) -> RequestTrace {
        let Some(tracer) = &self.tracer else { return RequestTrace(None) };
        let sender = TraceContextPropagator::new().extract_with_context(&Context::new(), &HeaderExtractor(headers));
        RequestTrace(Some(tracer.span_builder(name).with_kind(SpanKind::Server).start_with_context(tracer, &sender)))
    }
}

impl RequestTrace {
    /// Ends the trace with these words about the request.
    pub fn end(mut self, attributes: impl IntoIterator<Item = (&'static str, &'static str)>) {
        if let Some(span) = &mut self.0 {
            span.set_attributes(attributes.into_iter().map(|(key, value)| KeyValue::new(key, value)));
            span.end();
        }
    }
}

/// Why a batch is lost.
#[derive(Debug, thiserror::Error)]
enum ExportError {
    #[error("the collector can't be reached, or refuses them")]
    Refused(#[from] OTelSdkError),
    #[error("the collector does not answer")]
    Silent(#[from] Elapsed),
}

impl Export {
    /// Sends spans until shutdown, and then the last ones.
    pub async fn run(mut self, shutdown: Shutdown) {
        let mut complaint = Complaint::default();
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            tokio::select! {
                () = shutdown.closing() => break,
                _ = self.spans.recv_many(&mut batch, BATCH) => {}
            }
            let overdue = async {
                shutdown.closing().await;
                tokio::time::sleep(FLUSH_DEADLINE).await;
            };
            tokio::select! {
                () = export(&self.exporter, std::mem::take(&mut batch), &mut complaint) => {}
                () = overdue => return give_up(),
            }
            tokio::select! {
                () = shutdown.closing() => break,
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
        drop(self.provider);
        // Requests in progress still end; the queue is closed by the last who could add to it.
        let mut left = FLUSH_DEADLINE;
        while self.spans.recv_many(&mut batch, BATCH).await > 0 {
            let begun = Instant::now();
            if timeout(left, export(&self.exporter, std::mem::take(&mut batch), &mut complaint)).await.is_err() {
                return give_up();
            }
            left = left.saturating_sub(begun.elapsed());
        }
    }
}

fn give_up() {
    tracing::warn!("the last traces could not be sent in {FLUSH_DEADLINE:?}");
}

async fn export(exporter: &SpanExporter, batch: Vec<SpanData>, complaint: &mut Complaint) {
    let sent = async { Ok::<_, ExportError>(timeout(EXPORT_DEADLINE, exporter.export(batch)).await??) };
    match sent.await {
        Ok(()) => complaint.settle(),
        Err(error) if complaint.is_new(&error) => {
            tracing::warn!(error = with_causes(&error), "traces can't be sent; they are lost until the collector answers");
        }
        Err(_) => {}
    }
}

/// The end of each span's way through a request.
#[derive(Debug)]
struct Queue {
    sender: mpsc::Sender<SpanData>,
    dropped: Counter,
}

impl SpanProcessor for Queue {
    fn on_start(&self, _span: &mut Span, _context: &Context) {}

    fn on_end(&self, span: SpanData) {
        if self.sender.try_send(span).is_err() {
            self.dropped.inc();
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// Who sends the traces; `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` win.
fn resource() -> Resource {
    let own = [KeyValue::new("service.name", "outrigger"), KeyValue::new("service.version", env!("CARGO_PKG_VERSION"))];
    Resource::builder_empty().with_attributes(own).with_detector(Box::new(opentelemetry_sdk::resource::EnvResourceDetector::new())).build()
}
