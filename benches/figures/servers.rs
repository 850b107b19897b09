//! The servers that are measured beside each other, each a process of its own with the same certificate.

use std::{
    fs,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use k8s_openapi::api::core::v1::Pod;
use outrigger_bed::{free_port, obtain};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use serde_json::Value;
use tempfile::TempDir;

use super::{
    additions::{Addition, Additions},
    load::Target,
    own_certificate::OwnCertificate,
    process::Process,
    transport::Answers,
};

const OUTRIGGER: &str = env!("CARGO_BIN_EXE_outrigger");
const ALL_ROLES: &str = "admission,controllers";
/// How long a server may take to begin.
const START: Duration = Duration::from_secs(30);

/// The files that servers are started with.
pub(crate) struct Files {
    folder: PathBuf,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) additions: PathBuf,
    pub(crate) answers: PathBuf,
}

impl Files {
    pub(crate) fn in_folder(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            certificate: folder.join("tls.crt"),
            key: folder.join("tls.key"),
            additions: folder.join("additions.json"),
            answers: folder.join("answers.json"),
        }
    }
}

/// Starts servers.
pub(crate) struct Yard {
    kubeconfig: PathBuf,
    files: Files,
    tls: Arc<ClientConfig>,
    _folder: TempDir,
}

/// A running server.
pub(crate) struct Server {
    pub(crate) process: Process,
    pub(crate) target: Target,
    /// From the start of its process to its first answer.
    pub(crate) started_in: Duration,
    /// Where ours tells of itself.
    status: Option<SocketAddr>,
}

impl Yard {
    pub(crate) fn new(kubeconfig: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::in_folder(folder.path());
        OwnCertificate::write(folder.path());
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&files.certificate).unwrap()).unwrap();
        let tls = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Self { kubeconfig: kubeconfig.to_owned(), files, tls: Arc::new(tls), _folder: folder }
    }

    /// Our own program. Its first answer is that of `/readyz`.
    pub(crate) fn outrigger(&self) -> Server {
        self.outrigger_as("admission", Command::new(OUTRIGGER))
    }

    /// Our own program in all its roles.
    pub(crate) fn outrigger_with_controllers(&self) -> Server {
        self.outrigger_as(ALL_ROLES, Command::new(OUTRIGGER))
    }

    /// A program of ours in all its roles, which writes what it executes when it ends, with its symbols as they are.
    pub(crate) fn traced(&self, program: &Path, trace: &Path) -> Server {
        let mut command = Command::new(obtain::valgrind().unwrap());
        command.args(["--tool=callgrind", "--demangle=no", "--quiet"]).arg(format!("--callgrind-out-file={}", trace.display()));
        command.arg(program);
        self.outrigger_as(ALL_ROLES, command)
    }

    fn outrigger_as(&self, roles: &str, mut command: Command) -> Server {
        let status = free_address();
        command
            .args(["serve", "--log=error", "--drain-delay=0s", "--namespace=default", "--roles", roles, "--kubeconfig"])
            .arg(&self.kubeconfig);
        command.arg("--tls-cert").arg(&self.files.certificate).arg("--tls-key").arg(&self.files.key);
        command.arg(format!("--status-address={status}"));
        let server = self.start(|address| command.arg(format!("--https-address={address}")), || is_ready(status));
        Server { status: Some(status), ..server }
    }

    /// The same logic in Rust, the usual way.
    pub(crate) fn typed(&self) -> Server {
        self.own(super::TYPED)
    }

    /// The same answers without any logic.
    pub(crate) fn transport(&self) -> Server {
        self.own(super::TRANSPORT)
    }

    /// One that is part of this program.
    fn own(&self, name: &str) -> Server {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg(name).arg(&self.files.folder);
        self.start(|address| command.arg(address.to_string()), || true)
    }

    /// The same logic in Go.
    pub(crate) fn controller_runtime(&self) -> Server {
        let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/figures/controller-runtime");
        let mut command = Command::new(obtain::go_program(&module).unwrap());
        command.arg("--certificates").arg(&self.files.folder).arg("--additions").arg(&self.files.additions);
        self.start(|address| command.arg(format!("--port={}", address.port())), || true)
    }

    /// Lets the others add what ours adds to the pods of these reviews.
    pub(crate) fn learn(&self, ours: &Server, reviews: &[&[u8]]) {
        let additions: Additions = reviews
            .iter()
            .map(|review| {
                let before = pod_of(review);
                let asked = before.metadata.annotations.as_ref().unwrap().get("outrigger.dev/inject").unwrap().clone();
                (asked, Addition::between(&before, &ours.pod_after(review)))
            })
            .collect();
        fs::write(&self.files.additions, serde_json::to_vec(&additions).unwrap()).unwrap();
        let answers: Answers = reviews.iter().map(|review| (review.len(), ours.answer_to(review))).collect();
        fs::write(&self.files.answers, serde_json::to_vec(&answers).unwrap()).unwrap();
    }

    fn start<'command>(&self, at: impl FnOnce(SocketAddr) -> &'command mut Command, is_ready: impl Fn() -> bool) -> Server {
        let address = free_address();
        let command = at(address);
        let target = Target { address, tls: self.tls.clone() };
        let start = Instant::now();
        let process = Process::start(command);
        while !(is_ready() && TcpStream::connect(address).is_ok()) {
            assert!(start.elapsed() < START, "{command:?} does not begin");
            std::thread::sleep(Duration::from_millis(1));
        }
        Server { process, target, started_in: start.elapsed(), status: None }
    }
}

impl Server {
    /// A metric of ours that counts.
    pub(crate) fn metric(&self, name: &str) -> Option<u64> {
        let page = get(self.status?, "/metrics").ok()?;
        page.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
    }

    fn answer_to(&self, review: &[u8]) -> String {
        let (status, body) = self.target.ask(&request(review)).unwrap();
        let body = String::from_utf8(body).unwrap();
        assert_eq!(status, 200, "{body}");
        body
    }

    /// The pod of a review as this server leaves it.
    pub(crate) fn pod_after(&self, review: &[u8]) -> Pod {
        let answer: Value = serde_json::from_str(&self.answer_to(review)).unwrap();
        let patch = answer.pointer("/response/patch").unwrap_or_else(|| panic!("no patch in {answer}"));
        let patch: json_patch::Patch = serde_json::from_slice(&bytes(patch)).unwrap();
        let mut pod = object_of(review);
        json_patch::patch(&mut pod, &patch).unwrap();
        serde_json::from_value(pod).unwrap()
    }
}

/// Bytes as API servers take them: in base64, or as numbers, which is how kube writes them.
fn bytes(value: &Value) -> Vec<u8> {
    match value {
        Value::String(encoded) => STANDARD.decode(encoded).unwrap(),
        other => serde_json::from_value(other.clone()).unwrap(),
    }
}

/// A review as the request that an API server sends.
pub(crate) fn request(review: &[u8]) -> Arc<[u8]> {
    let head = format!(
        "POST /mutate/pods?timeout=10s HTTP/1.1\r\nHost: outrigger-admission.outrigger.svc:443\r\nUser-Agent: kube-apiserver-admission\r\n\
         Content-Length: {}\r\nAccept: application/json, */*\r\nContent-Type: application/json\r\nAccept-Encoding: gzip\r\n\r\n",
        review.len()
    );
    [head.as_bytes(), review].concat().into()
}

/// The pod of a review.
pub(crate) fn pod_of(review: &[u8]) -> Pod {
    serde_json::from_value(object_of(review)).unwrap()
}

fn object_of(review: &[u8]) -> Value {
    let review: Value = serde_json::from_slice(review).unwrap();
    review.pointer("/request/object").unwrap().clone()
}

fn free_address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], free_port().unwrap()))
}

/// Whether `/readyz` answers 200.
fn is_ready(status: SocketAddr) -> bool {
    get(status, "/readyz").is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

/// What is answered, head and body.
fn get(address: SocketAddr, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
