//! A sidecar, the folder it writes to, and the objects it mirrors.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use k8s_openapi::{
    ByteString,
    api::core::v1::{ConfigMap, Secret},
};
use kube::{
    Api,
    api::{DeleteParams, ObjectMeta, PostParams},
};
use outrigger_bed::{ControlPlane, Namespace, free_port};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tempfile::TempDir;
use tokio::{
    process::{Child, Command},
    time::timeout,
};

use crate::until::until;

pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// The label that all objects of the tests have.
pub(crate) const LABEL: &str = "mirrored";

/// What a sidecar works on. It outlives the process.
pub(crate) struct Site<'cluster> {
    pub(crate) namespace: Namespace<'cluster>,
    pub(crate) folder: TempDir,
    kubeconfig: PathBuf,
    logs: TempDir,
}

/// A running `outrigger file-sync`. It is killed when this is dropped.
pub(crate) struct Sidecar {
    child: Child,
    port: u16,
    log: PathBuf,
}

impl<'cluster> Site<'cluster> {
    pub(crate) async fn new(cluster: &'cluster ControlPlane, name: &str) -> Self {
        let namespace = cluster.namespace(name).await;
        Self {
            namespace,
            folder: tempfile::tempdir().unwrap(),
            kubeconfig: cluster.kubeconfig_path().to_owned(),
            logs: tempfile::tempdir().unwrap(),
        }
    }

    /// With the rights of a user who has none.
    pub(crate) fn without_rights(mut self, cluster: &ControlPlane) -> Self {
        self.kubeconfig = cluster.kubeconfig_of(self.namespace.name());
        self
    }

    /// With the API server at another address.
    pub(crate) fn through(mut self, cluster: &ControlPlane, address: &str) -> Self {
        let config = fs::read_to_string(&self.kubeconfig).unwrap();
        let path = self.logs.path().join("kubeconfig");
        fs::write(&path, config.replace(&cluster.address().to_string(), address)).unwrap();
        self.kubeconfig = path;
        self
    }

    /// With a program that is asked for the credential.
    pub(crate) fn with_program(mut self, program: &Path) -> Self {
        let mut config: serde_json::Value = serde_json::from_slice(&fs::read(&self.kubeconfig).unwrap()).unwrap();
        config["users"][0]["user"]["exec"] =
            json!({"apiVersion": "client.authentication.k8s.io/v1", "command": program, "interactiveMode": "Never"});
        let path = self.logs.path().join("kubeconfig");
        fs::write(&path, config.to_string()).unwrap();
        self.kubeconfig = path;
        self
    }

    /// Starts a sidecar with these variables, beside those that name the folder, the namespace and the label.
    pub(crate) fn start(&self, variables: &[(&str, &str)]) -> Sidecar {
        let (port, log) = (free_port().unwrap(), self.logs.path().join(format!("log-{}", free_port().unwrap())));
        let mut command = self.command(variables);
        command.env("HEALTH_PORT", port.to_string());
        let child = command.stderr(fs::File::create(&log).unwrap()).spawn().unwrap();
        Sidecar { child, port, log }
    }

    /// Starts one and waits for its first sync.
    pub(crate) async fn ready(&self, variables: &[(&str, &str)]) -> Sidecar {
        let sidecar = self.start(variables);
        sidecar.until_status("/startupz", 200).await;
        sidecar
    }

    /// Runs one to its end, which is told with its log.
    pub(crate) async fn once(&self, variables: &[(&str, &str)]) -> (ExitStatus, String) {
        let mut command = self.command(&[&[("METHOD", "once")], variables].concat());
        command.stderr(Stdio::piped());
        let output = timeout(DEADLINE, command.output()).await.unwrap().unwrap();
        (output.status, String::from_utf8(output.stderr).unwrap())
    }

    pub(crate) fn command(&self, variables: &[(&str, &str)]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_outrigger"));
        command.args(["file-sync", "--kubeconfig"]).arg(&self.kubeconfig);
        command.env("FOLDER", self.folder.path()).env("NAMESPACE", self.namespace.name()).env("LABEL", LABEL).env("LOG_LEVEL", "debug");
        command.envs(variables.iter().copied()).stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        command
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The files that others see: path and contents.
    pub(crate) fn files(&self) -> BTreeMap<String, String> {
        files_below(self.path(), "")
    }

    /// Waits until the folder holds these files and no others.
    pub(crate) async fn until_files(&self, expected: &[(&str, &str)]) {
        let expected: BTreeMap<String, String> = expected.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
        until(
            &format!("the files are {expected:?}"),
            async || if self.files() == expected { Ok(()) } else { Err(format!("{:?}", self.files())) },
        )
        .await;
    }

    pub(crate) fn mode(&self, path: &str) -> u32 {
        fs::metadata(self.path().join(path)).unwrap().permissions().mode() & 0o7777
    }

    pub(crate) fn config_maps(&self) -> Api<ConfigMap> {
        Api::default_namespaced(self.namespace.client())
    }

    pub(crate) fn secrets(&self) -> Api<Secret> {
        Api::default_namespaced(self.namespace.client())
    }

    /// Makes or replaces a config map that is mirrored.
    pub(crate) async fn put(&self, name: &str, data: &[(&str, &str)]) {
        put(&self.config_maps(), config_map(name, data)).await;
    }

    pub(crate) async fn delete(&self, name: &str) {
        self.config_maps().delete(name, &DeleteParams::default()).await.unwrap();
    }
}

pub(crate) fn config_map(name: &str, data: &[(&str, &str)]) -> ConfigMap {
    let data = data.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    ConfigMap { metadata: labelled(name), data: Some(data), ..ConfigMap::default() }
}

pub(crate) fn secret(name: &str, data: &[(&str, &[u8])]) -> Secret {
    let data = data.iter().map(|(key, value)| ((*key).to_owned(), ByteString(value.to_vec()))).collect();
    Secret { metadata: labelled(name), data: Some(data), ..Secret::default() }
}

pub(crate) fn labelled(name: &str) -> ObjectMeta {
    ObjectMeta { name: Some(name.to_owned()), labels: Some([(LABEL.to_owned(), "yes".to_owned())].into()), ..ObjectMeta::default() }
}

/// Makes an object or replaces the one of its name.
pub(crate) async fn put<K>(api: &Api<K>, object: K)
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::Serialize + serde::de::DeserializeOwned,
{
    let name = object.meta().name.clone().unwrap();
    match api.create(&PostParams::default(), &object).await {
        Err(kube::Error::Api(status)) if status.is_already_exists() => {
            api.replace(&name, &PostParams::default(), &object).await.unwrap();
        }
        created => drop(created.unwrap()),
    }
}

/// Also those behind links, but each once, and none of our own: names that begin with two dots are another way to
/// them.
pub(crate) fn files_below(folder: &Path, prefix: &str) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    let Ok(entries) = fs::read_dir(folder) else { return files };
    for entry in entries.filter_map(Result::ok) {
        let name = entry.file_name().into_string().unwrap();
        let path = format!("{prefix}{name}");
        if name.starts_with("..") || name.starts_with(".outrigger-") {
            continue;
        }
        if entry.path().is_dir() {
            files.extend(files_below(&entry.path(), &format!("{path}/")));
        } else if let Ok(bytes) = fs::read(entry.path()) {
            files.insert(path, String::from_utf8_lossy(&bytes).into_owned());
        }
    }
    files
}

impl Sidecar {
    /// What a path of the health port answers.
    pub(crate) async fn status(&self, path: &str) -> Result<(u16, String), String> {
        let answer = reqwest::get(format!("http://127.0.0.1:{}{path}", self.port)).await.map_err(|error| error.to_string())?;
        let code = answer.status().as_u16();
        Ok((code, answer.text().await.map_err(|error| error.to_string())?))
    }

    pub(crate) async fn until_status(&self, path: &str, expected: u16) -> String {
        until(&format!("{path} answers {expected}"), async || match self.status(path).await {
            Ok((code, text)) if code == expected => Ok(text),
            other => Err(format!("{other:?}; {}", self.log())),
        })
        .await
    }

    /// The value of a metric.
    pub(crate) async fn metric(&self, name: &str) -> u64 {
        let (_, text) = self.status("/metrics").await.unwrap();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).unwrap_or_else(|| panic!("{name} in {text}"));
        value.parse().unwrap()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Waits until the log says so.
    pub(crate) async fn until_log(&self, part: &str) {
        until(&format!("the log says {part:?}"), async || if self.log().contains(part) { Ok(()) } else { Err(self.log()) }).await;
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Ends it at once, wherever it is.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// Waits until nothing is left to tell.
    pub(crate) async fn until_told(&self) {
        until("nothing is left to tell", async || match self.metric("outrigger_file_sync_pending_notifications").await {
            0 => Ok(()),
            count => Err(count.to_string()),
        })
        .await;
    }

    /// Asks it to end, and tells how it did.
    pub(crate) async fn terminate(mut self) -> ExitStatus {
        kill_process(self.pid(), Signal::TERM).unwrap();
        timeout(DEADLINE, self.child.wait()).await.unwrap().unwrap()
    }

    /// How it ends by itself.
    pub(crate) async fn end(mut self) -> (ExitStatus, String) {
        let status = timeout(DEADLINE, self.child.wait()).await.unwrap().unwrap();
        (status, self.log())
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id().unwrap()).unwrap()).unwrap()
    }
}
