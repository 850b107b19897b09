//! A mail server as far as the tests need one (RFC 5321).

use std::sync::{Arc, Mutex};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use crate::sidecar::until;

/// A server that remembers what it was told.
pub(crate) struct MailServer {
    address: String,
    mails: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl MailServer {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let mails = Arc::<Mutex<Vec<String>>>::default();
        let taken = mails.clone();
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let mail = take(stream).await;
                taken.lock().unwrap().push(mail);
            }
        });
        Self { address, mails, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("smtp://{}", self.address)
    }

    /// Waits for so many conversations. Each is all lines that were sent.
    pub(crate) async fn until_mails(&self, count: usize) -> Vec<String> {
        until(&format!("{count} mails came"), async || {
            let mails = self.mails.lock().unwrap().clone();
            if mails.len() >= count { Ok(mails) } else { Err(format!("{mails:?}")) }
        })
        .await
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One conversation.
async fn take(stream: TcpStream) -> String {
    let mut stream = BufReader::new(stream);
    let (mut said, mut is_data) = (String::new(), false);
    stream.write_all(b"220 ready\r\n").await.unwrap();
    loop {
        let start = said.len();
        if stream.read_line(&mut said).await.unwrap() == 0 {
            return said;
        }
        let line = said[start..].trim_end();
        let answer = match line {
            "." if is_data => "250 taken",
            _ if is_data => continue,
            "DATA" => "354 go on",
            "QUIT" => "221 bye",
            _ => "250 fine",
        };
        is_data = line == "DATA";
        stream.write_all(format!("{answer}\r\n").as_bytes()).await.unwrap();
        if answer.starts_with("221") {
            return said;
        }
    }
}
