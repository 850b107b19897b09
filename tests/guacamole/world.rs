//! A database with Guacamole's tables, and the folders of a provisioner.

use std::{
    fs,
    ops::Deref,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::{Duration, Instant},
};

use outrigger_bed::Postgres;
use tempfile::TempDir;

/// The versions of Guacamole's tables.
pub(crate) const SCHEMAS: [&str; 2] = ["1.5", "1.6"];

/// What one test works with.
pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) database: String,
    folder: TempDir,
}

/// A server, which other tests may use, too.
pub(crate) enum Server {
    Shared(&'static Postgres),
    Own(Box<Postgres>),
}

impl Deref for Server {
    type Target = Postgres;

    fn deref(&self) -> &Postgres {
        match self {
            Self::Shared(server) => server,
            Self::Own(server) => server,
        }
    }
}

/// Somebody else with an open transaction.
pub(crate) struct Somebody(tokio_postgres::Client);

impl Somebody {
    pub(crate) async fn commit(self) {
        self.0.batch_execute("COMMIT").await.unwrap();
    }
}

/// How a run of the program ended.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) printed: String,
    pub(crate) said: String,
}

impl World {
    /// Guacamole 1.6's tables, and no files yet.
    pub(crate) async fn new() -> Self {
        Self::with_schema("1.6").await
    }

    pub(crate) async fn with_schema(version: &str) -> Self {
        let world = Self::without_schema().await;
        world.load_schema(version);
        world
    }

    /// A server that the test may end, or whose log is to be its own.
    pub(crate) async fn with_a_server_of_its_own() -> Self {
        let world = Self::on(Server::Own(Box::new(Postgres::start().await)));
        world.load_schema("1.6");
        world
    }

    pub(crate) async fn without_schema() -> Self {
        Self::on(Server::Shared(Postgres::shared().await))
    }

    fn on(server: Server) -> Self {
        let database = server.database("guacamole");
        Self::with_database(server, database)
    }

    /// The same database, and files of its own.
    pub(crate) fn with_other_files(&self) -> Self {
        let Server::Shared(server) = self.server else { panic!("a server of one's own is for one world") };
        Self::with_database(Server::Shared(server), self.database.clone())
    }

    fn with_database(server: Server, database: String) -> Self {
        let world = Self { server, database, folder: tempfile::tempdir().unwrap() };
        fs::create_dir(world.connections()).unwrap();
        let properties = format!(
            "postgresql-hostname: 127.0.0.1\npostgresql-port: {}\npostgresql-database: {1}\npostgresql-username: {1}\npostgresql-password: password\n",
            world.server.port(),
            world.database
        );
        world.configure(&properties);
        world
    }

    /// Makes the database anew, with the letters of a language.
    pub(crate) fn create_database_anew(&self, locale: &str) {
        let name = &self.database;
        self.server.query_as_owner("postgres", &format!("DROP DATABASE {name}"));
        let create = format!("CREATE DATABASE {name} OWNER {name} TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE '{locale}' LOCALE 'C'");
        self.server.query_as_owner("postgres", &create);
    }

    /// Makes Guacamole's tables as they are in this version, 1.5 or 1.6.
    pub(crate) fn load_schema(&self, version: &str) {
        const ONLY_IN_1_6: &str = "'AUDIT', ";
        let schema = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/guacamole/schema.sql")).unwrap();
        assert!(schema.contains(ONLY_IN_1_6));
        self.sql(&if version == "1.6" { schema } else { schema.replace(ONLY_IN_1_6, "") });
    }

    pub(crate) fn connections(&self) -> PathBuf {
        self.folder.path().join("connections")
    }

    /// The folder of `guacamole.properties`.
    pub(crate) fn configuration(&self) -> PathBuf {
        self.folder.path().join("config")
    }

    /// Writes `guacamole.properties`.
    pub(crate) fn configure(&self, properties: &str) {
        write(&self.configuration().join("guacamole.properties"), properties);
    }

    /// Writes a connection file.
    pub(crate) fn file(&self, name: &str, text: &str) {
        write(&self.connections().join(name), text);
    }

    pub(crate) fn remove(&self, name: &str) {
        fs::remove_file(self.connections().join(name)).unwrap();
    }

    /// Removes a folder with what is in it.
    pub(crate) fn remove_folder(&self, name: &str) {
        fs::remove_dir_all(self.connections().join(name)).unwrap();
    }

    /// Runs SQL as the database's owner: rows on lines, columns with `|` between.
    pub(crate) fn sql(&self, sql: &str) -> String {
        self.server.query(&self.database, sql)
    }

    /// Somebody else who has done something in a transaction, and hasn't committed it yet.
    pub(crate) async fn somebody_who_did(&self, sql: &str) -> Somebody {
        let mut config = tokio_postgres::Config::new();
        config.host("127.0.0.1").port(self.server.port()).dbname(&self.database).user(&self.database).password("password");
        let (client, connection) = config.connect(tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        client.batch_execute(&format!("BEGIN READ WRITE; {sql}")).await.unwrap();
        Somebody(client)
    }

    /// The program with this world's folders, and nothing else from its environment.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_outrigger"));
        command.env_clear().env("NO_COLOR", "1").arg("guacamole-provisioner");
        command.arg("--connections-dir").arg(self.connections()).arg("--config-dir").arg(self.configuration()).args(arguments);
        command
    }

    /// One pass, with more arguments.
    pub(crate) fn once(&self, arguments: &[&str]) -> Run {
        Run::of(&self.command(arguments).arg("--once").output().unwrap())
    }

    /// One pass that leaves nothing to look at.
    pub(crate) fn pass(&self) {
        let run = self.once(&[]);
        assert_eq!(run.code, Some(0), "{}", run.said);
    }

    /// What a pass would change.
    pub(crate) fn plan(&self, arguments: &[&str]) -> Run {
        Run::of(&self.command(arguments).arg("--plan").output().unwrap())
    }

    /// Each connection as `group/name protocol parameter=value ...`, sorted.
    pub(crate) fn listed(&self) -> Vec<String> {
        let rows = self.sql(
            "SELECT concat_ws('/', g.connection_group_name, c.connection_name) || ' ' || c.protocol || coalesce(' ' || (
                 SELECT string_agg(parameter_name || '=' || parameter_value, ' ' ORDER BY parameter_name)
                 FROM guacamole_connection_parameter p WHERE p.connection_id = c.connection_id), '')
             FROM guacamole_connection c LEFT JOIN guacamole_connection_group g ON g.connection_group_id = c.parent_id ORDER BY 1",
        );
        rows.lines().map(ToOwned::to_owned).collect()
    }

    /// Each permission on connections as `user connection permission`, sorted.
    pub(crate) fn granted(&self) -> Vec<String> {
        let rows = self.sql(
            "SELECT concat_ws(' ', e.name, c.connection_name, permission) FROM guacamole_connection_permission
             JOIN guacamole_entity e USING (entity_id) JOIN guacamole_connection c USING (connection_id) ORDER BY 1",
        );
        rows.lines().map(ToOwned::to_owned).collect()
    }
}

/// Longer than anything here takes, shorter than a hanging test.
const DEADLINE: Duration = Duration::from_secs(60);

impl World {
    /// Waits until something is so.
    pub(crate) fn until(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        let end = Instant::now() + DEADLINE;
        while !is_so() {
            assert!(Instant::now() < end, "waited {DEADLINE:?} until {what}: {:?}", self.listed());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Run {
    fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        Self { code: output.status.code(), printed: text(&output.stdout), said: text(&output.stderr) }
    }
}

pub(crate) fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// An SSH connection with these further lines.
pub(crate) fn ssh(name: &str, lines: &str) -> String {
    format!("name: {name}\nprotocol: ssh\nparameters: {{hostname: host, port: 22}}\n{lines}\n")
}
