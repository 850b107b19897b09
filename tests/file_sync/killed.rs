//! The program is killed at each call by which it changes something, and started again.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
};

use outrigger_bed::{ControlPlane, gaps, obtain};
use rustix::process::Signal;
use tokio::{process::Command, time::timeout};

use crate::{
    app::App,
    sidecar::{DEADLINE, Site, config_map, files_below, put},
};

/// By these calls of the kernel it writes, makes visible, removes and tells. It is killed when it enters one.
const CALLS: [&str; 13] = [
    "connect",
    "write",
    "fchmod",
    "fsync",
    "fdatasync",
    "ftruncate",
    "linkat",
    "symlinkat",
    "renameat",
    "renameat2",
    "unlinkat",
    "unlink",
    "mkdirat",
];
/// More than it makes of any of them.
const MOST: usize = 500;

const OLD: [(&str, &str); 3] = [("kept", "kept"), ("changed", "old"), ("gone", "old")];
const NEW: [(&str, &str); 3] = [("kept", "kept"), ("changed", "new"), ("new", "new")];
const FOREIGN: (&str, &str) = ("foreign", "theirs");

/// What the folder holds after a sync: the files of both objects, and somebody else's.
fn model(files: &[(&str, &str)], nested: &str) -> BTreeMap<String, String> {
    let all = files.iter().copied().chain([("sub/nested", nested), FOREIGN]);
    all.map(|(path, text)| (path.to_owned(), text.to_owned())).collect()
}

/// The program under strace, a folder as an earlier run left it, and the cluster as it is since.
struct Trial<'cluster> {
    site: Site<'cluster>,
    app: App,
    strace: PathBuf,
    publish: &'static str,
}

impl<'cluster> Trial<'cluster> {
    async fn prepare(cluster: &'cluster ControlPlane, publish: &'static str) -> Option<Self> {
        let strace = match obtain::strace().and_then(may_trace) {
            Ok(strace) => strace,
            Err(why) => {
                gaps::skip("killed at each call", &why).unwrap();
                return None;
            }
        };
        let trial = Self { site: Site::new(cluster, "killed-at").await, app: App::start().await, strace, publish };
        fs::write(trial.site.path().join(FOREIGN.0), FOREIGN.1).unwrap();
        trial.set(&OLD, "old").await;
        let (status, log) = trial.site.once(&trial.variables(trial.site.path()).as_strs()).await;
        assert!(status.success() && trial.site.files() == model(&OLD, "old"), "{:?}; {log}", trial.site.files());
        trial.set(&NEW, "new").await;
        Some(trial)
    }

    async fn set(&self, files: &[(&str, &str)], nested: &str) {
        self.site.put("a", files).await;
        let mut object = config_map("b", &[("nested", nested)]);
        object.metadata.annotations = Some([("k8s-sidecar-target-directory".to_owned(), "sub".to_owned())].into());
        put(&self.site.config_maps(), object).await;
    }

    fn variables(&self, folder: &Path) -> Variables {
        let folder = folder.display().to_string();
        let url = self.app.url("/");
        Variables([("METHOD", "once".to_owned()), ("FOLDER", folder), ("PUBLISH", self.publish.to_owned()), ("REQ_URL", url)].into())
    }

    /// Kills it at one call. Returns whether it came so far.
    async fn kill_at(&self, folder: &Path, call: &str, count: usize) -> bool {
        let program = self.site.command(&[&self.variables(folder).as_strs()[..], &[("LOG_LEVEL", "error")]].concat());
        let mut traced = Command::new(&self.strace);
        let (trace, kill) = (format!("trace={call}"), format!("inject={call}:signal=KILL:when={count}"));
        traced.args(["--follow-forks", "--output=/dev/null", "-e", &trace, "-e", &kill]);
        traced.arg(program.as_std().get_program()).args(program.as_std().get_args());
        traced.envs(program.as_std().get_envs().filter_map(|(name, value)| Some((name, value?))));
        traced.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        let output = timeout(DEADLINE, traced.output()).await.unwrap().unwrap();
        let was_killed = is_killed(output.status);
        assert!(was_killed || output.status.success(), "{call} {count}: {}", String::from_utf8_lossy(&output.stderr));
        was_killed
    }

    /// Kills it at one call, looks, starts it again, and compares. Returns whether it came so far.
    async fn survives(&self, call: &str, count: usize) -> bool {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("files");
        let copied = Command::new("cp").arg("--archive").arg(self.site.path()).arg(&folder).status().await.unwrap();
        assert!(copied.success());
        let told = self.app.calls().len();
        let was_killed = self.kill_at(&folder, call, count).await;
        self.look(&folder, call, count);
        let (status, log) = self.site.once(&self.variables(&folder).as_strs()).await;
        assert!(status.success(), "{call} {count}: {log}");
        assert_eq!(files_below(&folder, ""), model(&NEW, "new"), "{call} {count}: {log}");
        assert!(self.app.calls().len() > told, "{call} {count}: nobody was told; {log}");
        assert_eq!(leftovers(&folder, self.publish), [""; 0], "{call} {count}");
        was_killed
    }

    /// What readers see at that moment: no half of a file, and what is somebody else's. Together, all files of one time.
    fn look(&self, folder: &Path, call: &str, count: usize) {
        let (files, old, new) = (files_below(folder, ""), model(&OLD, "old"), model(&NEW, "new"));
        for (path, text) in &files {
            assert!(old.get(path) == Some(text) || new.get(path) == Some(text), "{path} holds {text:?} after {call} {count}");
        }
        assert_eq!(files.get(FOREIGN.0).map(String::as_str), Some(FOREIGN.1), "{call} {count}");
        if self.publish == "together" {
            let mut seen = files_below(&folder.join("..data"), "");
            seen.insert(FOREIGN.0.to_owned(), FOREIGN.1.to_owned());
            assert!(seen == old || seen == new, "{seen:?} after {call} {count}");
        }
    }
}

/// Variables of the environment.
struct Variables(BTreeMap<&'static str, String>);

impl Variables {
    fn as_strs(&self) -> Vec<(&str, &str)> {
        self.0.iter().map(|(name, value)| (*name, value.as_str())).collect()
    }
}

/// The tracer dies as what it traces.
fn is_killed(status: ExitStatus) -> bool {
    status.signal() == Some(Signal::KILL.as_raw())
}

/// Not everybody may trace: some containers forbid it.
fn may_trace(strace: PathBuf) -> anyhow::Result<PathBuf> {
    let traced = std::process::Command::new(&strace).args(["--follow-forks", "--output=/dev/null", "true"]).output()?;
    anyhow::ensure!(traced.status.success(), "strace can't trace here: {}", String::from_utf8_lossy(&traced.stderr));
    Ok(strace)
}

/// Names of ours that should not have outlived the last run.
fn leftovers(folder: &Path, publish: &str) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut ours: Vec<String> = names.filter(|name| name.starts_with(".outrigger-") || name.starts_with("..")).collect();
    ours.retain(|name| name != ".outrigger-files" && name != ".outrigger-lock");
    if publish == "together" {
        let published = fs::read_link(folder.join("..data")).unwrap();
        ours.retain(|name| name != "..data" && Path::new(name) != published);
    }
    ours
}

async fn survives_at_each_call(publish: &'static str) {
    let Some(trial) = Trial::prepare(ControlPlane::shared().await, publish).await else { return };
    let mut killed = 0;
    for call in CALLS {
        for count in 1..MOST {
            if !trial.survives(call, count).await {
                break;
            }
            killed += 1;
        }
    }
    assert!(killed > CALLS.len(), "it was killed {killed} times");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_call_it_completes_each_file_after_its_restart() {
    survives_at_each_call("each").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_call_readers_see_all_files_of_one_time() {
    survives_at_each_call("together").await;
}
