//! What a connection file says: the connections, groups and users in it, and what is wrong with them.
//!
//! A document is a connection, a list of connections (as Guacamole's own import takes it), or a mapping with `connections`,
//! `connectionGroups` and `users`. A file may have several documents.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::PathBuf,
    sync::Arc,
};

use secrecy::SecretString;

use crate::api::nearest::nearest;

use super::{
    known::{self, KnownFiles},
    model::{ConnectionColumns, Finding, Grantee, GranteeKind, Grants, GroupPath, GroupSettings, Origin, Parent, Permission, Shared},
    packed::Parameters,
    parameters,
    yaml::{self, Piece, Value},
};

/// Most characters of a name (varchar(128) in Guacamole's schema).
pub(crate) const LONGEST_NAME: usize = 128;
/// Most characters of a value (varchar(4096)).
pub(crate) const LONGEST_VALUE: usize = 4096;
const LONGEST_PROTOCOL: usize = 32;
const LONGEST_HOSTNAME: usize = 512;

/// All that a file declares.
#[derive(Debug, Default, Clone)]
pub(crate) struct Document {
    pub(crate) connections: Vec<Arc<Connection>>,
    pub(crate) groups: Vec<Group>,
    pub(crate) users: Vec<User>,
    pub(crate) findings: Vec<Finding>,
}

/// A connection as a file wants it.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    pub(crate) origin: Origin,
    pub(crate) name: String,
    pub(crate) parent: Parent,
    pub(crate) protocol: Arc<str>,
    /// None if the database has them already: whoever read the file knew that, and they were not kept.
    pub(crate) parameters: Option<Parameters>,
    pub(crate) columns: ConnectionColumns,
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) grants: Grants,
    pub(crate) profiles: Vec<Profile>,
}

/// A sharing profile of a connection.
#[derive(Debug, Clone)]
pub(crate) struct Profile {
    pub(crate) name: String,
    pub(crate) parameters: Parameters,
    pub(crate) grants: Grants,
}

/// What a file says of a connection group. Groups that are only named in paths need no such entry.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    pub(crate) file: Arc<str>,
    pub(crate) path: GroupPath,
    pub(crate) settings: GroupSettings,
    pub(crate) grants: Grants,
}

/// A user with what signs them in. Users that are only granted something need no such entry.
#[derive(Debug, Clone)]
pub(crate) struct User {
    pub(crate) file: Arc<str>,
    pub(crate) name: Arc<str>,
    pub(crate) password: Password,
}

/// The field with the name of a file that holds a user's password.
pub(crate) const PASSWORD_FILE: &str = "passwordFile";

/// The field that asks for a password.
pub(crate) const GENERATE_PASSWORD: &str = "generatePassword";

/// How a user signs in.
#[derive(Debug, Clone)]
pub(crate) enum Password {
    /// By other means than a password, such as OpenID Connect: no password fits.
    None,
    /// With this one.
    Given(SecretString),
    /// With the one in this file, relative to the connection file's folder.
    File(PathBuf),
    /// With one that is generated when the user is made, and is the user's own from then on.
    Generated,
}

impl Connection {
    /// What messages call it.
    pub(crate) fn subject(&self) -> String {
        subject(&self.origin.file, "connection", &self.name)
    }
}

/// What messages call an entry of a file.
pub(crate) fn subject(file: &str, kind: &str, name: &str) -> String {
    format!("{file}: {kind} {name:?}")
}

/// The field with the list of connections.
const CONNECTIONS: &str = "connections";

/// What the reading of many files shares.
pub(crate) struct Reading<'k> {
    /// Whether the parameters of a connection are kept. Most are in the database already.
    is_kept: &'k (dyn Fn(&Origin, &Parameters) -> bool + Sync),
    before: KnownFiles,
    known: KnownFiles,
    texts: Shared<Arc<str>>,
    paths: Shared<GroupPath>,
    grants: Shared<Grants>,
}

impl<'k> Reading<'k> {
    pub(crate) fn new(is_kept: &'k (dyn Fn(&Origin, &Parameters) -> bool + Sync)) -> Self {
        Self::after(is_kept, KnownFiles::default())
    }

    /// Reads only what is not known already: `is_kept` must say of that what it said before.
    pub(crate) fn after(is_kept: &'k (dyn Fn(&Origin, &Parameters) -> bool + Sync), before: KnownFiles) -> Self {
        let (texts, paths, grants) = (Shared::default(), Shared::default(), Shared::default());
        Self { is_kept, before, known: KnownFiles::default(), texts, paths, grants }
    }

    /// Keeps everything.
    pub(crate) fn whole() -> Self {
        Self::new(&|_, _| true)
    }

    /// Reads a file. What can't be used is a finding; the rest stands.
    pub(crate) fn file(&mut self, file: &str, text: &str) -> Document {
        let bytes = known::digest_of(text);
        let document = self.before.take(file, &bytes).unwrap_or_else(|| self.text(file, text));
        self.known.note(file, bytes, &document);
        document
    }

    /// What need not be read again.
    pub(crate) fn into_known(self) -> KnownFiles {
        self.known
    }

    fn text(&mut self, file: &str, text: &str) -> Document {
        let mut reader = Reader::new(file, self);
        for piece in yaml::pieces(text, CONNECTIONS) {
            match piece {
                Ok(piece) => reader.piece(piece),
                Err(error) => return Document { findings: vec![Finding::error(file, error)], ..Document::default() },
            }
        }
        reader.finish()
    }

    /// Reads what comes from elsewhere. `file` is for messages.
    pub(crate) fn pieces(&mut self, file: &str, pieces: impl IntoIterator<Item = Piece>) -> Document {
        let mut reader = Reader::new(file, self);
        pieces.into_iter().for_each(|piece| reader.piece(piece));
        reader.finish()
    }
}

/// Why an entry can't be used. It shows no value.
#[derive(Debug)]
struct Problem(String);

impl Problem {
    fn new(message: impl fmt::Display) -> Self {
        Self(message.to_string())
    }
}

/// Gathers the entries of one file.
struct Reader<'r, 'k> {
    file: Arc<str>,
    reading: &'r mut Reading<'k>,
    document: Document,
    /// The first document, until it is known whether it is the only one.
    first: Option<Value>,
    has_begun: bool,
}

impl<'r, 'k> Reader<'r, 'k> {
    fn new(file: &str, reading: &'r mut Reading<'k>) -> Self {
        Self { file: file.into(), reading, document: Document::default(), first: None, has_begun: false }
    }

    fn piece(&mut self, piece: Piece) {
        if let Some(first) = self.first.take() {
            self.document(first, false);
        }
        let is_first = !std::mem::replace(&mut self.has_begun, true);
        match piece {
            Piece::Item(item) => self.connection(item, false),
            Piece::Document(document) if is_first => self.first = Some(document),
            Piece::Document(document) => self.document(document, false),
        }
    }

    fn finish(mut self) -> Document {
        if let Some(only) = self.first.take() {
            self.document(only, true);
        }
        self.document
    }

    fn document(&mut self, value: Value, is_only_one: bool) {
        match value {
            Value::List(items) => self.connections(items),
            Value::Map(members) if members.iter().any(|(name, _)| name == "name" || name == "protocol") => {
                self.connection(Value::Map(members), is_only_one);
            }
            Value::Map(members) => self.sections(Fields::new(members)),
            other => {
                let message = format!("{} is no connection: write a mapping with name and protocol, or a list of them", other.type_name());
                self.document.findings.push(Finding::error(&self.file, message));
            }
        }
    }

    fn sections(&mut self, mut fields: Fields) {
        let sections = [fields.list(CONNECTIONS), fields.list("connectionGroups"), fields.list("users")];
        let unknown = fields.finish();
        for problem in sections.iter().filter_map(|section| section.as_ref().err()).chain(unknown.as_ref().err()) {
            self.document.findings.push(Finding::error(&self.file, &problem.0));
        }
        let [connections, groups, users] = sections.map(Result::unwrap_or_default);
        self.connections(connections);
        for group in groups {
            self.group(group);
        }
        for user in users {
            self.user(user);
        }
    }

    fn connections(&mut self, items: Vec<Value>) {
        for item in items {
            self.connection(item, false);
        }
    }

    fn connection(&mut self, value: Value, is_only_one: bool) {
        let subject = subject(&self.file, "connection", &shown_name(&value, "name"));
        match self.read_connection(value, is_only_one, &subject) {
            Ok(connection) => self.document.connections.push(connection.into()),
            Err(problem) => self.document.findings.push(Finding::error(subject, problem.0)),
        }
    }

    fn read_connection(&mut self, value: Value, is_only_one: bool, subject: &str) -> Result<Connection, Problem> {
        let mut fields = Fields::of(value)?;
        let name = fields.name("name")?;
        let protocol = self.reading.texts.share(fields.required("protocol", LONGEST_PROTOCOL)?.into());
        let parent = self.parent(&mut fields)?;
        let id = fields.text("id", LONGEST_NAME)?;
        let parameters = self.parameters(&protocol, fields.map("parameters")?, subject)?;
        let (columns, attributes) = self.attributes(fields.map("attributes")?, subject)?;
        let grants = self.grants(&mut fields)?;
        let profiles = fields.list("sharingProfiles")?.into_iter().map(|profile| self.profile(&protocol, profile, subject));
        let profiles = profiles.collect::<Result<_, _>>()?;
        fields.finish()?;

        let given: Vec<&str> = parameters.iter().map(|(name, _)| name).collect();
        let warnings = parameters::check_protocol(&protocol, &given);
        self.document.findings.extend(warnings.into_iter().map(|warning| Finding::warning(subject, warning)));
        let key = match (id, &parent) {
            (Some(id), _) => id,
            (None, _) if is_only_one => String::new(),
            (None, Parent::Path(path)) => format!("{path}/{name}"),
            (None, Parent::Identifier(group)) => format!("{group}/{name}"),
        };
        let origin = Origin { file: self.file.clone(), key: key.into() };
        let parameters = (self.reading.is_kept)(&origin, &parameters).then_some(parameters);
        Ok(Connection { origin, name, parent, protocol, parameters, columns, attributes, grants, profiles })
    }

    fn parent(&mut self, fields: &mut Fields) -> Result<Parent, Problem> {
        Ok(match fields.parent()? {
            Parent::Path(path) => Parent::Path(self.reading.paths.share(path)),
            identifier @ Parent::Identifier(_) => identifier,
        })
    }

    fn grants(&mut self, fields: &mut Fields) -> Result<Grants, Problem> {
        let grants = fields.grants()?.into_iter().map(|(grantee, permission)| {
            let name = self.reading.texts.share(grantee.name);
            (Grantee { name, ..grantee }, permission)
        });
        let grants = grants.collect();
        Ok(self.reading.grants.share(grants))
    }

    fn parameters(&mut self, protocol: &str, members: Vec<(String, Value)>, subject: &str) -> Result<Parameters, Problem> {
        let mut parameters = Vec::with_capacity(members.len());
        for (name, value) in members {
            let what = format!("the parameter {name}");
            within(&what, &name, LONGEST_NAME)?;
            // As in Guacamole itself, an empty value is none.
            let Some(value) = scalar(&what, value, usize::MAX)?.filter(|value| !value.is_empty()) else { continue };
            let (value, warning) = parameters::check(protocol, &name, value);
            within(&what, &value, LONGEST_VALUE)?;
            self.document.findings.extend(warning.map(|warning| Finding::warning(subject, warning)));
            parameters.push((name, SecretString::from(value)));
        }
        Ok(Parameters::pack(parameters))
    }

    fn attributes(
        &mut self,
        members: Vec<(String, Value)>,
        subject: &str,
    ) -> Result<(ConnectionColumns, BTreeMap<String, String>), Problem> {
        let (mut columns, mut others) = (ConnectionColumns::default(), BTreeMap::new());
        for (name, value) in members {
            let what = format!("the attribute {name}");
            within(&what, &name, LONGEST_NAME)?;
            let Some(value) = scalar(&what, value, LONGEST_VALUE)?.filter(|value| !value.is_empty()) else { continue };
            match name.as_str() {
                "max-connections" => columns.max_connections = Some(number(&what, &value)?),
                "max-connections-per-user" => columns.max_connections_per_user = Some(number(&what, &value)?),
                "weight" => columns.weight = Some(number(&what, &value)?),
                "failover-only" => columns.failover_only = boolean(&what, &value)?,
                "guacd-hostname" => {
                    within(&what, &value, LONGEST_HOSTNAME)?;
                    columns.proxy_hostname = Some(value);
                }
                "guacd-port" => columns.proxy_port = Some(number(&what, &value)?),
                "guacd-encryption" => columns.proxy_encryption = Some(encryption(&what, &value)?),
                _ if name.starts_with(super::marks::PREFIX) => {
                    return Err(Problem::new(format!("{what} is for our own marks: choose a name that begins otherwise")));
                }
                _ => {
                    let near =
                        nearest(&name, COLUMN_ATTRIBUTES).map(|near| format!("{what} is unknown to Guacamole: did you mean {near}?"));
                    self.document.findings.extend(near.map(|warning| Finding::warning(subject, warning)));
                    others.insert(name, value);
                }
            }
        }
        Ok((columns, others))
    }

    fn profile(&mut self, protocol: &str, value: Value, subject: &str) -> Result<Profile, Problem> {
        let mut fields = Fields::of(value)?;
        let name = fields.name("name")?;
        let parameters = self.parameters(protocol, fields.map("parameters")?, subject)?;
        let grants = self.grants(&mut fields)?;
        fields.finish()?;
        Ok(Profile { name, parameters, grants })
    }

    fn group(&mut self, value: Value) {
        let name = shown_name(&value, "group");
        match self.read_group(value) {
            Ok(group) => self.document.groups.push(group),
            Err(problem) => {
                self.document.findings.push(Finding::error(subject(&self.file, "connection group", &name), problem.0));
            }
        }
    }

    fn read_group(&mut self, value: Value) -> Result<Group, Problem> {
        let mut fields = Fields::of(value)?;
        let path = path(&fields.required("group", LONGEST_VALUE)?)?;
        if path.name().is_none() {
            return Err(Problem::new("the root is no group that can be set up: name one in it"));
        }
        let mut settings = GroupSettings::default();
        match fields.text("type", LONGEST_NAME)?.map(|text| text.to_ascii_uppercase()).as_deref() {
            None => {}
            Some("ORGANIZATIONAL") => settings.is_balancing = Some(false),
            Some("BALANCING") => settings.is_balancing = Some(true),
            Some(_) => return Err(Problem::new("type must be ORGANIZATIONAL or BALANCING")),
        }
        for (name, value) in fields.map("attributes")? {
            let what = format!("the attribute {name}");
            let Some(value) = scalar(&what, value, LONGEST_VALUE)?.filter(|value| !value.is_empty()) else { continue };
            match name.as_str() {
                "max-connections" => settings.max_connections = Some(number(&what, &value)?),
                "max-connections-per-user" => settings.max_connections_per_user = Some(number(&what, &value)?),
                "enable-session-affinity" => settings.session_affinity = Some(boolean(&what, &value)?),
                _ => return Err(Problem::new(format!("a connection group has no {what}"))),
            }
        }
        let grants = self.grants(&mut fields)?;
        fields.finish()?;
        Ok(Group { file: self.file.clone(), path, settings, grants })
    }

    fn user(&mut self, value: Value) {
        let name = shown_name(&value, "name");
        match read_user(self.file.clone(), value) {
            Ok(user) => self.document.users.push(user),
            Err(problem) => self.document.findings.push(Finding::error(subject(&self.file, "user", &name), problem.0)),
        }
    }
}

/// The attributes that are columns of a connection.
pub(crate) const COLUMN_ATTRIBUTES: [&str; 7] =
    ["max-connections", "max-connections-per-user", "weight", "failover-only", "guacd-hostname", "guacd-port", "guacd-encryption"];

fn read_user(file: Arc<str>, value: Value) -> Result<User, Problem> {
    let mut fields = Fields::of(value)?;
    let name = fields.name("name")?.into();
    let given = fields.text("password", usize::MAX)?.filter(|password| !password.is_empty());
    let password = match (given, fields.text(PASSWORD_FILE, LONGEST_VALUE)?) {
        (None, None) => Password::None,
        (Some(password), None) => Password::Given(SecretString::from(password)),
        (None, Some(path)) => Password::File(path.into()),
        (Some(_), Some(_)) => return Err(Problem::new("password and passwordFile exclude each other: keep one")),
    };
    let is_generated = fields.text(GENERATE_PASSWORD, LONGEST_VALUE)?.map(|text| boolean(GENERATE_PASSWORD, &text)).transpose()?;
    let password = match (is_generated, password) {
        (Some(true), Password::None) => Password::Generated,
        (Some(true), _) => return Err(Problem::new("generatePassword excludes password and passwordFile: keep one")),
        (_, password) => password,
    };
    fields.finish()?;
    Ok(User { file, name, password })
}

/// The members of a mapping, taken one by one, so that what is left is unknown.
struct Fields {
    members: Vec<(String, Value)>,
    known: Vec<&'static str>,
}

impl Fields {
    const fn new(members: Vec<(String, Value)>) -> Self {
        Self { members, known: Vec::new() }
    }

    fn of(value: Value) -> Result<Self, Problem> {
        match value {
            Value::Map(members) => Ok(Self::new(members)),
            other => Err(Problem::new(format!("{} stands where a mapping is expected", other.type_name()))),
        }
    }

    fn take(&mut self, name: &'static str) -> Value {
        self.known.push(name);
        let place = self.members.iter().position(|(member, _)| member == name);
        place.map_or(Value::Null, |place| self.members.remove(place).1)
    }

    fn text(&mut self, name: &'static str, longest: usize) -> Result<Option<String>, Problem> {
        let value = self.take(name);
        scalar(name, value, longest)
    }

    fn required(&mut self, name: &'static str, longest: usize) -> Result<String, Problem> {
        let text = self.text(name, longest)?.map(|text| text.trim().to_owned());
        text.filter(|text| !text.is_empty()).ok_or_else(|| Problem::new(format!("{name} is missing")))
    }

    fn name(&mut self, field: &'static str) -> Result<String, Problem> {
        self.required(field, LONGEST_NAME)
    }

    fn list(&mut self, name: &'static str) -> Result<Vec<Value>, Problem> {
        match self.take(name) {
            Value::Null => Ok(Vec::new()),
            Value::List(items) => Ok(items),
            other => Err(Problem::new(format!("{name} is {}: write a list", other.type_name()))),
        }
    }

    fn map(&mut self, name: &'static str) -> Result<Vec<(String, Value)>, Problem> {
        match self.take(name) {
            Value::Null => Ok(Vec::new()),
            Value::Map(members) => Ok(members),
            other => Err(Problem::new(format!("{name} is {}: write a mapping", other.type_name()))),
        }
    }

    /// The texts of a list; one text alone will do.
    fn texts(&mut self, name: &'static str) -> Result<Option<Vec<String>>, Problem> {
        let items = match self.take(name) {
            Value::Null => return Ok(None),
            Value::List(items) => items,
            text @ Value::Text(_) => vec![text],
            Value::Map(_) => return Err(Problem::new(format!("{name} is a mapping: write a list of names"))),
        };
        let texts = items.into_iter().map(|item| scalar(name, item, LONGEST_NAME)).collect::<Result<Vec<_>, _>>()?;
        let texts = texts.into_iter().flatten().map(|text| text.trim().to_owned());
        Ok(Some(texts.filter(|text| !text.is_empty()).collect()))
    }

    fn parent(&mut self) -> Result<Parent, Problem> {
        let (group, identifier) = (self.text("group", LONGEST_VALUE)?, self.text("parentIdentifier", LONGEST_NAME)?);
        match (group, identifier.as_deref().map(str::trim)) {
            (Some(_), Some(_)) => Err(Problem::new("group and parentIdentifier exclude each other: keep one")),
            (None, None | Some("ROOT" | "")) => Ok(Parent::Path(GroupPath::default())),
            (None, Some(number)) => match number.parse() {
                Ok(number) => Ok(Parent::Identifier(number)),
                Err(_) => Err(Problem::new("parentIdentifier must be ROOT or a group's number in the database: name groups with group")),
            },
            (Some(text), None) => Ok(Parent::Path(path(&text)?)),
        }
    }

    fn grants(&mut self) -> Result<BTreeSet<(Grantee, Permission)>, Problem> {
        let users = self.texts("users")?.unwrap_or_default().into_iter().map(|name| (GranteeKind::User, name));
        let groups = self.texts("groups")?.unwrap_or_default().into_iter().map(|name| (GranteeKind::UserGroup, name));
        let permissions = match self.texts("permissions")? {
            None => vec![Permission::Read],
            Some(texts) => texts.iter().map(|text| permission(text)).collect::<Result<_, _>>()?,
        };
        let grantees = users.chain(groups).map(|(kind, name)| Grantee { kind, name: name.into() });
        Ok(grantees.flat_map(|grantee| permissions.iter().map(move |permission| (grantee.clone(), *permission))).collect())
    }

    /// Refuses what nobody took: a misspelt field must not be taken for a missing one.
    fn finish(self) -> Result<(), Problem> {
        let Some((name, _)) = self.members.first() else { return Ok(()) };
        let hint = nearest(name, self.known.iter().copied()).map(|near| format!("did you mean {near}?"));
        let hint = hint.unwrap_or_else(|| format!("known are {}", self.known.join(", ")));
        Err(Problem::new(format!("unknown field {name:?}: {hint}")))
    }
}

/// The name of an entry as far as it can be told, for messages.
fn shown_name(value: &Value, field: &str) -> String {
    let Value::Map(members) = value else { return "?".to_owned() };
    match members.iter().find(|(name, _)| name == field) {
        Some((_, Value::Text(name))) => name.chars().take(LONGEST_NAME).collect(),
        _ => "?".to_owned(),
    }
}

fn scalar(what: &str, value: Value, longest: usize) -> Result<Option<String>, Problem> {
    match value {
        Value::Null => Ok(None),
        Value::Text(text) => within(what, &text, longest).map(|()| Some(text)),
        other => Err(Problem::new(format!("{what} is {}: write a text, a number or a boolean", other.type_name()))),
    }
}

/// Refuses what the database would: it counts characters.
fn within(what: &str, text: &str, longest: usize) -> Result<(), Problem> {
    if text.contains('\0') {
        return Err(Problem::new(format!("{what} holds a NUL character, which no database stores")));
    }
    match text.chars().count() {
        length if length > longest => Err(Problem::new(format!("{what} has {length} characters, and Guacamole stores at most {longest}"))),
        _ => Ok(()),
    }
}

fn path(text: &str) -> Result<GroupPath, Problem> {
    let path = GroupPath::read(text);
    path.names().try_for_each(|name| within("a group's name", name, LONGEST_NAME))?;
    Ok(path)
}

fn permission(text: &str) -> Result<Permission, Problem> {
    let names = || Permission::ALL.map(Permission::as_str).join(", ");
    Permission::read(text).ok_or_else(|| Problem::new(format!("{text:?} is no permission: there are {}", names())))
}

fn number(what: &str, text: &str) -> Result<i32, Problem> {
    text.trim().parse().map_err(|_| Problem::new(format!("{what} must be a whole number")))
}

fn boolean(what: &str, text: &str) -> Result<bool, Problem> {
    text.trim().to_ascii_lowercase().parse().map_err(|_| Problem::new(format!("{what} must be true or false")))
}

fn encryption(what: &str, text: &str) -> Result<String, Problem> {
    let method = text.trim().to_ascii_uppercase();
    if ["NONE", "SSL"].contains(&&*method) { Ok(method) } else { Err(Problem::new(format!("{what} must be none or ssl"))) }
}

#[cfg(test)]
#[path = "document_tests.rs"]
mod tests;
