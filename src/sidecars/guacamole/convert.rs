//! Files of other provisioners, as a file of ours: the one-connection files of the provisioner this one grew from, and the files that
//! Guacamole's own batch import takes, in YAML, JSON or CSV.

use std::{path::Path, sync::Arc};

use secrecy::ExposeSecret;

use super::{
    document::{self, COLUMN_ATTRIBUTES, Connection, Document, GENERATE_PASSWORD, Group, PASSWORD_FILE, Password, Reading, User},
    folder,
    model::{ConnectionColumns, Finding, GranteeKind, Grants, GroupSettings, Parent},
    packed::Parameters,
    yaml::Piece,
};

pub use super::yaml::Value;

/// A file of ours, with what could not be taken over.
#[derive(Debug)]
pub struct Converted {
    /// The file, secrets and all.
    pub file: Value,
    /// What its author should look at.
    pub findings: Vec<Finding>,
}

/// Converts the files of a folder, as the provisioner would read it.
#[must_use]
pub fn folder(path: &Path) -> Converted {
    let desired = folder::read_connections(path, &mut Reading::whole());
    converted(&desired.connections, desired.groups.values(), desired.users.values(), desired.findings)
}

/// Converts a list of connections in YAML or JSON. `name` is for messages.
#[must_use]
pub fn text(name: &str, text: &str) -> Converted {
    let Document { connections, groups, users, findings } = Reading::whole().file(name, text);
    converted(&connections, &groups, &users, findings)
}

/// Why a text is no CSV.
#[derive(Debug, thiserror::Error)]
#[error("it is no CSV with a row of names first")]
pub struct CsvError(#[from] csv::Error);

/// Converts a list of connections in CSV (RFC 4180), whose first row names the columns. `name` is for messages.
///
/// # Errors
/// Rows have different numbers of fields, or it is no UTF-8.
pub fn csv(name: &str, text: &str) -> Result<Converted, CsvError> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::Headers).from_reader(text.as_bytes());
    let headers = reader.headers()?.clone();
    let mut rows = Vec::new();
    for record in reader.records() {
        rows.push(row(headers.iter().zip(&record?)));
    }
    let Document { connections, findings, .. } = Reading::whole().pieces(name, rows.into_iter().map(Piece::Item));
    Ok(converted(&connections, [], [], findings))
}

/// A row as the import takes it: a column is a field, or an attribute, or else a parameter; `(attribute)` or `(parameter)` behind its name
/// says which where both are possible. Lists have `;` between their items.
fn row<'r>(cells: impl Iterator<Item = (&'r str, &'r str)>) -> Value {
    let (mut fields, mut parameters, mut attributes) = (Vec::new(), Vec::new(), Vec::new());
    for (header, cell) in cells.filter(|(_, cell)| !cell.is_empty()) {
        let text = || Value::Text(cell.to_owned());
        if let Some(name) = header.strip_suffix("(parameter)") {
            parameters.push((name.trim().to_owned(), text()));
        } else if let Some(name) = header.strip_suffix("(attribute)") {
            attributes.push((name.trim().to_owned(), text()));
        } else if ["name", "protocol", "group", "parentIdentifier"].contains(&header) {
            fields.push((header.to_owned(), text()));
        } else if ["users", "groups"].contains(&header) {
            fields.push((header.to_owned(), Value::List(items(cell).into_iter().map(Value::Text).collect())));
        } else if COLUMN_ATTRIBUTES.contains(&header) || header.starts_with("guac-") {
            attributes.push((header.to_owned(), text()));
        } else {
            parameters.push((header.to_owned(), text()));
        }
    }
    fields.extend([("parameters".to_owned(), Value::Map(parameters)), ("attributes".to_owned(), Value::Map(attributes))]);
    Value::Map(fields)
}

/// The items of a cell; a backslash takes `;` and itself as they are.
fn items(cell: &str) -> Vec<String> {
    let mut items = vec![String::new()];
    let mut characters = cell.chars();
    while let Some(character) = characters.next() {
        match character {
            ';' => items.push(String::new()),
            '\\' => items.last_mut().into_iter().for_each(|item| item.extend(characters.next())),
            _ => items.last_mut().into_iter().for_each(|item| item.push(character)),
        }
    }
    items.retain(|item| !item.trim().is_empty());
    items
}

fn converted<'a>(
    connections: &[Arc<Connection>],
    groups: impl IntoIterator<Item = &'a Group>,
    users: impl IntoIterator<Item = &'a User>,
    findings: Vec<Finding>,
) -> Converted {
    let ids: Vec<String> = connections.iter().map(|connection| id(connection)).collect();
    let entry = |(connection, id): (&Arc<Connection>, &String)| {
        let is_unique = ids.iter().filter(|other| *other == id).count() == 1;
        if is_unique || id.is_empty() { entry(connection, id) } else { entry(connection, &connection.origin.to_string()) }
    };
    let mut file = Fields(vec![("connections".to_owned(), Value::List(connections.iter().zip(&ids).map(entry).collect()))]);
    file.list("connectionGroups", groups.into_iter().map(group).collect());
    file.list("users", users.into_iter().map(user).collect());
    Converted { file: Value::Map(file.0), findings }
}

fn group(group: &Group) -> Value {
    let mut fields = Fields::default();
    fields.text("group", &group.path.to_string());
    let GroupSettings { is_balancing, max_connections, max_connections_per_user, session_affinity } = &group.settings;
    fields.text("type", is_balancing.map_or("", |is_balancing| if is_balancing { "BALANCING" } else { "ORGANIZATIONAL" }));
    let values = [
        ("max-connections", max_connections.map(|number| number.to_string())),
        ("max-connections-per-user", max_connections_per_user.map(|number| number.to_string())),
        ("enable-session-affinity", session_affinity.map(|is_on| is_on.to_string())),
    ];
    fields.map("attributes", values.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect());
    fields.grants(&group.grants);
    Value::Map(fields.0)
}

fn user(user: &User) -> Value {
    let mut fields = Fields::default();
    fields.text("name", &user.name);
    match &user.password {
        Password::None => {}
        Password::Given(password) => fields.text("password", password.expose_secret()),
        Password::File(path) => fields.text(PASSWORD_FILE, &path.display().to_string()),
        Password::Generated => fields.text(GENERATE_PASSWORD, "true"),
    }
    Value::Map(fields.0)
}

fn entry(connection: &Connection, id: &str) -> Value {
    let mut fields = Fields::default();
    fields.text("id", id);
    fields.text("name", &connection.name);
    match &connection.parent {
        Parent::Path(path) if path.name().is_some() => fields.text("group", &path.to_string()),
        Parent::Path(_) => {}
        Parent::Identifier(number) => fields.text("parentIdentifier", &number.to_string()),
    }
    fields.text("protocol", &connection.protocol);
    fields.map("parameters", connection.parameters.as_ref().map(parameters).unwrap_or_default());
    let others = connection.attributes.iter().map(|(name, value)| (name.clone(), value.clone()));
    fields.map("attributes", columns(&connection.columns).into_iter().chain(others).collect());
    fields.grants(&connection.grants);
    fields.list("sharingProfiles", connection.profiles.iter().map(profile).collect());
    Value::Map(fields.0)
}

fn profile(profile: &document::Profile) -> Value {
    let mut fields = Fields::default();
    fields.text("name", &profile.name);
    fields.map("parameters", parameters(&profile.parameters));
    fields.grants(&profile.grants);
    Value::Map(fields.0)
}

/// What stays the same when the connection is renamed: the name of its folder, or what the file says. Without one, its place is its identity.
fn id(connection: &Connection) -> String {
    let origin = &connection.origin;
    if origin.key.is_empty() {
        let path = Path::new(&*origin.file);
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let name = folder.or_else(|| path.file_stem().map(Path::new));
        return name.unwrap_or(path).display().to_string();
    }
    let is_place = origin.key.ends_with(&format!("/{}", connection.name));
    if is_place { String::new() } else { origin.key.to_string() }
}

fn parameters(parameters: &Parameters) -> Vec<(String, String)> {
    parameters.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn columns(columns: &ConnectionColumns) -> Vec<(String, String)> {
    let number = |number: Option<i32>| number.map(|number| number.to_string());
    let ConnectionColumns {
        max_connections,
        max_connections_per_user,
        weight,
        failover_only,
        proxy_port,
        proxy_hostname,
        proxy_encryption,
    } = columns;
    let values = [
        number(*max_connections),
        number(*max_connections_per_user),
        number(*weight),
        failover_only.then(|| "true".to_owned()),
        proxy_hostname.clone(),
        number(*proxy_port),
        proxy_encryption.as_ref().map(|method| method.to_ascii_lowercase()),
    ];
    COLUMN_ATTRIBUTES.iter().zip(values).filter_map(|(name, value)| Some(((*name).to_owned(), value?))).collect()
}

/// The fields of an entry; empty ones are left out.
#[derive(Default)]
struct Fields(Vec<(String, Value)>);

impl Fields {
    fn text(&mut self, name: &str, text: &str) {
        if !text.is_empty() {
            self.0.push((name.to_owned(), Value::Text(text.to_owned())));
        }
    }

    fn map(&mut self, name: &str, members: Vec<(String, String)>) {
        if !members.is_empty() {
            self.0.push((name.to_owned(), Value::Map(members.into_iter().map(|(name, value)| (name, Value::Text(value))).collect())));
        }
    }

    fn list(&mut self, name: &str, items: Vec<Value>) {
        if !items.is_empty() {
            self.0.push((name.to_owned(), Value::List(items)));
        }
    }

    /// All of an entry's grantees have the same permissions.
    fn grants(&mut self, grants: &Grants) {
        for (field, kind) in [("users", GranteeKind::User), ("groups", GranteeKind::UserGroup)] {
            let mut names: Vec<_> = grants.iter().filter(|(grantee, _)| grantee.kind == kind).map(|(grantee, _)| &grantee.name).collect();
            names.dedup();
            self.list(field, names.into_iter().map(|name| Value::Text(name.to_string())).collect());
        }
        let mut permissions: Vec<_> = grants.iter().map(|(_, permission)| *permission).collect();
        permissions.sort();
        permissions.dedup();
        if !permissions.is_empty() && permissions != [super::model::Permission::Read] {
            self.list("permissions", permissions.into_iter().map(|permission| Value::Text(permission.as_str().to_owned())).collect());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_converted_whole_into_a_file_that_is_understood() {
        let folder = tempfile::tempdir().unwrap();
        let ssh = |name: &str| format!("name: {name}\nprotocol: ssh\nparameters: {{hostname: h}}\n");
        std::fs::create_dir(folder.path().join("two")).unwrap();
        for (name, text) in [
            ("two/a.yaml", ssh("a")),
            ("two/b.yaml", ssh("b")),
            ("one.yaml", ssh("c")),
            (
                "more.yaml",
                "connectionGroups: [{group: Lab, type: BALANCING, attributes: {max-connections: 2}, groups: [dev]}]\n\
                 users: [{name: u, password: p}, {name: v}]"
                    .to_owned(),
            ),
        ] {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let Converted { file, findings } = super::folder(folder.path());
        assert_eq!(findings, []);
        let again = Reading::whole().pieces("again", [Piece::Document(file)]);
        assert_eq!(again.findings, []);
        let keys: Vec<_> = again.connections.iter().map(|connection| connection.origin.key.to_string()).collect();
        assert_eq!(keys, ["one", "two/a.yaml", "two/b.yaml"]);
        let [group] = again.groups.as_slice() else { panic!("a group") };
        assert_eq!((group.settings.is_balancing, group.settings.max_connections, group.grants.len()), (Some(true), Some(2), 1));
        let [u, v] = again.users.as_slice() else { panic!("two users") };
        assert!(matches!(&u.password, Password::Given(password) if password.expose_secret() == "p"));
        assert!(matches!(v.password, Password::None));
    }

    #[test]
    fn a_table_of_the_import_is_read_by_its_column_names() {
        let table = "name,protocol,hostname,port,users,groups,group,max-connections,username (parameter),guac-x (attribute)\n\
                     \"One, two\",ssh,h,22,a;b\\;c,,ROOT/Lab,3,u,y\n\
                     Two,vnc,h,5900,,staff,,,,\n";
        let Converted { file, findings } = csv("t.csv", table).unwrap();
        assert_eq!(findings, []);
        let Value::Map(members) = file else { panic!("a mapping") };
        let Value::List(items) = &members[0].1 else { panic!("a list") };
        let again = Reading::whole().pieces("again", items.iter().cloned().map(Piece::Item));
        let [one, two] = again.connections.as_slice() else { panic!("two connections") };
        assert_eq!((one.name.as_str(), one.columns.max_connections, one.grants.len()), ("One, two", Some(3), 2));
        assert_eq!(one.grants.iter().map(|(grantee, _)| grantee.name.to_string()).collect::<Vec<_>>(), ["a", "b;c"]);
        assert_eq!(one.parameters.as_ref().unwrap().iter().map(|(name, _)| name).collect::<Vec<_>>(), ["hostname", "port", "username"]);
        assert_eq!((two.parameters.as_ref().unwrap().iter().count(), two.attributes.len()), (2, 0));
        assert!(csv("t.csv", "a,b\n1\n").is_err());
    }
}
