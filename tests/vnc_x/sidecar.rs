//! A sidecar, the display it serves, and what it leaves.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::{Path, PathBuf},
    process::{ExitStatus, Output, Stdio},
    time::{Duration, Instant},
};

use outrigger_bed::{Display, free_port, obtain};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::{
    process::{Child, Command},
    time::timeout,
};

use crate::until::until;

pub(crate) const DEADLINE: Duration = Duration::from_secs(60);
/// How long a program may take that cleans up before it ends.
const END_LIMIT: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(10);

/// A display and the files of a sidecar. It outlives the process, and ends whatever that has left.
pub(crate) struct Site {
    pub(crate) display: Display,
    folder: TempDir,
}

/// A running `outrigger vnc`. It is ended when this is dropped.
pub(crate) struct Sidecar {
    child: Child,
    pub(crate) port: u16,
    log: PathBuf,
}

impl Site {
    pub(crate) fn new() -> Self {
        obtain::desktop().unwrap();
        Self { display: Display::free(), folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn cookie(&self) -> PathBuf {
        self.path("cookie")
    }

    pub(crate) fn rfb_socket(&self) -> PathBuf {
        self.path("desk/rfb.sock")
    }

    /// A sidecar with these variables, beside those that name the display and the files.
    pub(crate) fn command(&self, variables: &[(&str, &str)]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_outrigger"));
        command.arg("vnc").env("DISPLAY", self.display.name()).env("XAUTHORITY", self.cookie()).env("VNC_FOLDER", self.path("desk"));
        command
            .env("LOG_LEVEL", "debug")
            .env("HEALTH_HOST", "127.0.0.1")
            .env("VNC_PORT", free_port().unwrap().to_string())
            .envs(variables.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
        command
    }

    pub(crate) fn start(&self, variables: &[(&str, &str)]) -> Sidecar {
        self.start_command(self.command(variables))
    }

    pub(crate) fn start_command(&self, mut command: Command) -> Sidecar {
        let port = free_port().unwrap();
        let log = self.path(&format!("log-{port}"));
        command.env("HEALTH_PORT", port.to_string()).stderr(fs::File::create(&log).unwrap());
        Sidecar { child: command.spawn().unwrap(), port, log }
    }

    /// Starts one, and waits until clients are let in.
    pub(crate) async fn ready(&self, variables: &[(&str, &str)]) -> Sidecar {
        let sidecar = self.start(variables);
        sidecar.until_status("/readyz", 200).await;
        sidecar
    }

    /// One that ends by itself: how, and its log.
    pub(crate) async fn failing(&self, variables: &[(&str, &str)]) -> (ExitStatus, String) {
        let mut command = self.command(variables);
        command.env("HEALTH_PORT", free_port().unwrap().to_string()).stderr(Stdio::piped());
        let output = timeout(DEADLINE, command.output()).await.unwrap().unwrap();
        (output.status, String::from_utf8(output.stderr).unwrap())
    }

    /// Runs an X client that has the cookie.
    pub(crate) async fn client(&self, program: &str, arguments: &[&str]) -> Output {
        self.client_with(program, arguments, &self.cookie()).await
    }

    pub(crate) async fn client_with(&self, program: &str, arguments: &[&str], authority: &Path) -> Output {
        let mut command = Command::new(program);
        command.args(arguments).env("DISPLAY", self.display.name()).env("XAUTHORITY", authority).stdin(Stdio::null()).kill_on_drop(true);
        timeout(DEADLINE, command.output()).await.unwrap().unwrap()
    }

    /// What a viewer hears first.
    pub(crate) fn banner(&self) -> std::io::Result<String> {
        let mut banner = [0; 12];
        let mut stream = UnixStream::connect(self.rfb_socket())?;
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.read_exact(&mut banner)?;
        Ok(String::from_utf8_lossy(&banner).into_owned())
    }

    /// A `PATH` on which openbox is this script.
    pub(crate) fn with_openbox(&self, script: &str) -> String {
        let programs = self.path("programs");
        fs::create_dir(&programs).unwrap();
        let program = programs.join("openbox");
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        format!("{}:{}", programs.display(), std::env::var("PATH").unwrap())
    }

    /// All processes that know one of our files, but the tests themselves.
    pub(crate) fn processes(&self) -> Vec<(Pid, String)> {
        let folder = self.folder.path().to_str().unwrap().as_bytes();
        let knows = |id: &i32| {
            let read = |file: &str| fs::read(format!("/proc/{id}/{file}")).unwrap_or_default();
            let known = [read("environ"), read("cmdline")].concat();
            known.windows(folder.len()).any(|part| part == folder)
        };
        let ids = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
        let ours = ids.filter(|id| *id != std::process::id().cast_signed()).filter(knows);
        let name = |id: i32| fs::read_to_string(format!("/proc/{id}/comm")).unwrap_or_default().trim().to_owned();
        ours.filter_map(|id| Some((Pid::from_raw(id)?, name(id)))).collect()
    }

    /// The one process of a name.
    pub(crate) async fn process(&self, name: &str) -> Pid {
        until(&format!("one {name} runs"), async || {
            let all = self.processes();
            match all.iter().filter(|(_, known)| known == name).collect::<Vec<_>>().as_slice() {
                [(process, _)] => Ok(*process),
                _ => Err(format!("there are {all:?}")),
            }
        })
        .await
    }

    /// Waits until nothing of the display is left but the cookie.
    pub(crate) async fn until_nothing_is_left(&self) {
        until("nothing is left", async || {
            let left: Vec<_> =
                [self.display.socket(), self.display.lock_file(), self.rfb_socket()].into_iter().filter(|path| path.exists()).collect();
            let running = self.processes();
            if left.is_empty() && running.is_empty() { Ok(()) } else { Err(format!("{left:?} and {running:?} are")) }
        })
        .await;
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // Killed, it would leave shared memory on this machine, of which there are only so many pieces.
        let x11vnc = || self.processes().into_iter().filter(|(_, name)| name == "x11vnc");
        for (process, _) in x11vnc() {
            let _ = kill_process(process, Signal::TERM);
        }
        let end = Instant::now() + END_LIMIT;
        while x11vnc().next().is_some() && Instant::now() < end {
            std::thread::sleep(POLL);
        }
        for (process, _) in self.processes() {
            let _ = kill_process(process, Signal::KILL);
        }
    }
}

impl Sidecar {
    /// What a path of the health port answers.
    pub(crate) fn get(&self, path: &str) -> std::io::Result<(u16, String)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_default();
        Ok((status, answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()))
    }

    /// The text of a path once it is answered with this status.
    pub(crate) async fn until_status(&self, path: &str, expected: u16) -> String {
        until(&format!("{path} answers {expected}"), async || match self.get(path) {
            Ok((status, text)) if status == expected => Ok(text),
            other => Err(format!("{other:?}\n{}", self.log())),
        })
        .await
    }

    /// The value of a metric, with its labels in its name.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let (_, text) = self.get("/metrics").unwrap();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("{name} in {text}")).parse().unwrap()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().unwrap().cast_signed()).unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    pub(crate) async fn exit(&mut self) -> ExitStatus {
        timeout(DEADLINE, self.child.wait()).await.unwrap().unwrap()
    }
}

pub(crate) fn printed(output: &Output) -> String {
    [&output.stdout[..], &output.stderr].map(String::from_utf8_lossy).concat()
}

/// The name that a desktop tells its viewers (RFC 6143, section 7.3.2).
pub(crate) fn desktop_name(socket: &Path) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    let skip = |stream: &mut UnixStream, answer: &[u8], length: usize| {
        let mut bytes = vec![0; length];
        stream.read_exact(&mut bytes)?;
        stream.write_all(answer)?;
        Ok::<_, std::io::Error>(bytes)
    };
    skip(&mut stream, b"RFB 003.008\n", 12)?;
    skip(&mut stream, &[1], 2)?;
    skip(&mut stream, &[1], 4)?;
    let init = skip(&mut stream, &[], 24)?;
    let length = u32::from_be_bytes([init[20], init[21], init[22], init[23]]);
    let name = skip(&mut stream, &[], length.try_into().unwrap())?;
    Ok(String::from_utf8(name).unwrap())
}
