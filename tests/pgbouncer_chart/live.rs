//! PgBouncer and its agent as processes of this machine, with the configuration, the variables and the probes that the chart gives their containers.
//! Only folders, ports and the namespace are those of the test.

use std::{
    collections::BTreeMap,
    fs,
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use outrigger_bed::{ControlPlane, Generation, PgBouncer, free_port};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::{container, helm::Helm, ini, objects, pod};

const INSTANCE: &str = "pooler-one";

pub(crate) struct Live {
    generation: Generation,
    namespace: String,
    objects: Vec<Value>,
    /// What the containers see below `/run`.
    run: TempDir,
    port: u16,
    agent_port: u16,
}

/// A running agent, killed when it is dropped.
pub(crate) struct Agent {
    _child: Child,
    log: PathBuf,
}

impl Live {
    /// The smallest release with more, in a namespace.
    pub(crate) fn render(helm: &Helm, generation: Generation, namespace: &str, more: &[String]) -> Self {
        let (port, agent_port) = (free_port().unwrap(), free_port().unwrap());
        let version = match generation {
            Generation::Installed => "1.18",
            Generation::Newer => "1.24",
        };
        let own = [
            format!("defaults.version={version}"),
            format!("defaults.port={port}"),
            format!("agent.port={agent_port}"),
            "defaults.exporter.enabled=true".to_owned(),
        ];
        let all: Vec<&str> = crate::LEAST.into_iter().chain(own.iter().chain(more).map(String::as_str)).collect();
        let objects = objects(helm, &[&["--namespace", namespace][..], &crate::helm::set(&all)].concat());
        let run = tempfile::tempdir().unwrap();
        for folder in ["userlist", "pgbouncer"] {
            fs::create_dir(run.path().join(folder)).unwrap();
        }
        Self { generation, namespace: namespace.to_owned(), objects, run, port, agent_port }
    }

    /// What a container would call so.
    fn here(&self, text: &str) -> String {
        text.replace("/run/", &format!("{}/", self.run.path().display()))
    }

    fn container(&self, name: &str) -> Value {
        container(&pod(&self.objects, INSTANCE), name)
    }

    /// Writes the list of users as the agent would.
    pub(crate) fn write_list(&self, list: &str) {
        let name = self.variables()["PGBOUNCER_AUTH_FILE"].clone();
        fs::write(self.run.path().join("userlist").join(name), list).unwrap();
    }

    /// `PgBouncer`, with the rendered configuration.
    pub(crate) async fn pooler(&self) -> PgBouncer {
        let configuration = self.here(&ini(&self.objects, INSTANCE).join("\n"));
        PgBouncer::start_configured(self.generation, self.port, configuration).await
    }

    fn variables(&self) -> BTreeMap<String, String> {
        let agent = self.container("agent");
        let variables = agent["env"].as_array().unwrap().iter();
        variables.map(|variable| (variable["name"].as_str().unwrap().to_owned(), self.here(variable["value"].as_str().unwrap()))).collect()
    }

    /// The agent, with the rendered variables.
    pub(crate) fn agent(&self, cluster: &ControlPlane) -> Agent {
        let log = self.run.path().join("agent.log");
        let mut command = Command::new(env!("CARGO_BIN_EXE_outrigger"));
        command.args(["file-sync", "--kubeconfig"]).arg(cluster.kubeconfig_path()).envs(self.variables());
        // There is no account whose own it could be.
        command.env("NAMESPACE", &self.namespace);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(fs::File::create(&log).unwrap()).kill_on_drop(true);
        Agent { _child: command.spawn().unwrap(), log }
    }

    /// What the agent's port answers.
    pub(crate) async fn ask_agent(&self, path: &str) -> Result<(u16, String), String> {
        let answer = reqwest::get(format!("http://127.0.0.1:{}{path}", self.agent_port)).await.map_err(|error| error.to_string())?;
        let code = answer.status().as_u16();
        Ok((code, answer.text().await.map_err(|error| error.to_string())?))
    }

    /// The connection of the exporter.
    pub(crate) fn exporters_connection(&self) -> String {
        let exporter = self.container("exporter");
        let mut arguments = exporter["args"].as_array().unwrap().iter().map(|argument| argument.as_str().unwrap());
        self.here(arguments.find_map(|argument| argument.strip_prefix("--pgBouncer.connectionString=")).unwrap())
    }

    /// Whether a probe succeeds, which looks at a port as the kubelet does.
    pub(crate) fn probe(&self, name: &str) -> bool {
        let pooler = self.container("pgbouncer");
        let probe = &pooler[name];
        let ports = pooler["ports"].as_array().unwrap();
        let port = ports.iter().find(|port| port["name"] == probe["tcpSocket"]["port"]).unwrap()["containerPort"].as_u64().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], u16::try_from(port).unwrap()));
        TcpStream::connect_timeout(&address, Duration::from_secs(probe["timeoutSeconds"].as_u64().unwrap())).is_ok()
    }

    /// Runs the script of `helm test` as its pod would, with the files that its Secrets hold by their paths there. What it prints, if it succeeds.
    pub(crate) fn helm_test(&self, files: &[(&str, &str)]) -> Result<String, String> {
        let named = |kind: &str| {
            let title = format!("{kind}/{INSTANCE}-test-logins");
            self.objects.iter().find(|object| crate::helm::title(object) == title).unwrap()
        };
        let container = &named("Pod")["spec"]["containers"][0];
        let root = self.run.path().join("test-pod");
        let place = |path: &str| root.join(path.trim_start_matches('/'));
        let data = named("ConfigMap")["data"].as_object().unwrap().iter();
        let mounted = data.map(|(name, text)| (format!("/test/{name}"), text.as_str().unwrap().to_owned()));
        for (path, text) in mounted.chain(files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned()))) {
            let folders = ["/tmp", "/test", "/userlist", "/before"];
            let text =
                folders.iter().fold(text, |text, folder| text.replace(&format!("{folder}/"), &format!("{}/", place(folder).display())));
            fs::create_dir_all(place(&path).parent().unwrap()).unwrap();
            fs::write(place(&path), text).unwrap();
        }
        fs::create_dir_all(place("/tmp")).unwrap();
        let mut shell = std::process::Command::new("sh");
        shell.arg(place("/test/test.sh")).arg("logins");
        for variable in container["env"].as_array().unwrap() {
            shell.env(variable["name"].as_str().unwrap(), variable["value"].as_str().unwrap());
        }
        // Where the Service is.
        shell.env("PGHOST", "127.0.0.1").env("PGPORT", self.port.to_string());
        let output = shell.output().unwrap();
        let [stdout, stderr] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        if output.status.success() { Ok(stdout) } else { Err(stdout + &stderr) }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// A folder for what is the test's own.
    pub(crate) fn folder(&self) -> &Path {
        self.run.path()
    }
}

impl Agent {
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }
}
