//! One change of a database that is there, and its SQL.

use crate::{
    api::pg_database::{Privilege, SchemaPrivilege},
    postgres::quoting::{Identifier, Literal, QuotingError},
};

use super::differences::list_items;

/// A change of a database that is there: one statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Another owner.
    Owner(String),
    /// Another default tablespace.
    Tablespace(String),
    /// How many connections there may be.
    ConnectionLimit(i32),
    /// Whether anybody can connect.
    AllowConnections(bool),
    /// Whether others may copy it.
    IsTemplate(bool),
    /// A parameter for new connections.
    SetParameter(String, String),
    /// The server's value again.
    ResetParameter(String),
    /// A privilege on the database, for a role or for everybody.
    Grant(Option<String>, Privilege),
    /// No such privilege.
    Revoke(Option<String>, Privilege),
    /// A schema and its owner.
    CreateSchema(String, Option<String>),
    /// Another owner of a schema.
    SchemaOwner(String, String),
    /// No such schema.
    DropSchema(String),
    /// A privilege on a schema.
    GrantOnSchema(String, String, SchemaPrivilege),
    /// No such privilege.
    RevokeOnSchema(String, String, SchemaPrivilege),
    /// An extension.
    CreateExtension {
        /// Its name.
        name: String,
        /// Its version; none means the newest.
        version: Option<String>,
        /// The schema for its objects.
        schema: Option<String>,
    },
    /// Another version of an extension.
    UpdateExtension(String, String),
    /// Another schema for an extension's objects.
    MoveExtension(String, String),
    /// No such extension.
    DropExtension(String),
}

/// Where a statement is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In any database of the server.
    Server,
    /// In the database itself.
    Database,
}

impl Change {
    /// Where it is run.
    #[must_use]
    pub fn place(&self) -> Place {
        match self {
            Self::Owner(_)
            | Self::Tablespace(_)
            | Self::ConnectionLimit(_)
            | Self::AllowConnections(_)
            | Self::IsTemplate(_)
            | Self::SetParameter(..)
            | Self::ResetParameter(_)
            | Self::Grant(..)
            | Self::Revoke(..) => Place::Server,
            _ => Place::Database,
        }
    }

    /// Whether it moves files, or waits for others to leave.
    #[must_use]
    pub fn takes_long(&self) -> bool {
        matches!(self, Self::Tablespace(_) | Self::CreateExtension { .. } | Self::UpdateExtension(..))
    }

    /// Its statement.
    ///
    /// # Errors
    /// A name or value that PostgreSQL can't hold.
    pub fn sql(&self, database: &str) -> Result<String, QuotingError> {
        let name = Identifier::new;
        let database = name(database)?;
        Ok(match self {
            Self::Owner(role) => format!("ALTER DATABASE {database} OWNER TO {}", name(role)?),
            Self::Tablespace(tablespace) => format!("ALTER DATABASE {database} SET TABLESPACE {}", name(tablespace)?),
            Self::ConnectionLimit(limit) => format!("ALTER DATABASE {database} CONNECTION LIMIT {limit}"),
            Self::AllowConnections(allow) => format!("ALTER DATABASE {database} ALLOW_CONNECTIONS {allow}"),
            Self::IsTemplate(is_template) => format!("ALTER DATABASE {database} IS_TEMPLATE {is_template}"),
            Self::SetParameter(parameter, value) => {
                format!("ALTER DATABASE {database} SET {} TO {}", parameter_name(parameter)?, parameter_value(parameter, value)?)
            }
            Self::ResetParameter(parameter) => format!("ALTER DATABASE {database} RESET {}", parameter_name(parameter)?),
            Self::Grant(role, privilege) => format!("GRANT {} ON DATABASE {database} TO {}", word(*privilege), grantee(role.as_deref())?),
            Self::Revoke(role, privilege) => {
                format!("REVOKE {} ON DATABASE {database} FROM {}", word(*privilege), grantee(role.as_deref())?)
            }
            Self::CreateSchema(schema, None) => format!("CREATE SCHEMA {}", name(schema)?),
            Self::CreateSchema(schema, Some(owner)) => format!("CREATE SCHEMA {} AUTHORIZATION {}", name(schema)?, name(owner)?),
            Self::SchemaOwner(schema, owner) => format!("ALTER SCHEMA {} OWNER TO {}", name(schema)?, name(owner)?),
            Self::DropSchema(schema) => format!("DROP SCHEMA {} RESTRICT", name(schema)?),
            Self::GrantOnSchema(schema, role, privilege) => {
                format!("GRANT {} ON SCHEMA {} TO {}", schema_word(*privilege), name(schema)?, name(role)?)
            }
            Self::RevokeOnSchema(schema, role, privilege) => {
                format!("REVOKE {} ON SCHEMA {} FROM {}", schema_word(*privilege), name(schema)?, name(role)?)
            }
            Self::CreateExtension { name: extension, version, schema } => {
                let schema = schema.as_deref().map(|schema| Ok(format!(" SCHEMA {}", name(schema)?))).transpose()?;
                let version = version.as_deref().map(|version| Ok(format!(" VERSION {}", Literal::new(version)?))).transpose()?;
                format!("CREATE EXTENSION {}{}{}", name(extension)?, schema.unwrap_or_default(), version.unwrap_or_default())
            }
            Self::UpdateExtension(extension, version) => {
                format!("ALTER EXTENSION {} UPDATE TO {}", name(extension)?, Literal::new(version)?)
            }
            Self::MoveExtension(extension, schema) => format!("ALTER EXTENSION {} SET SCHEMA {}", name(extension)?, name(schema)?),
            Self::DropExtension(extension) => format!("DROP EXTENSION {} RESTRICT", name(extension)?),
        })
    }
}

fn grantee(role: Option<&str>) -> Result<String, QuotingError> {
    role.map_or_else(|| Ok("PUBLIC".to_owned()), |role| Identifier::new(role).map(|role| role.to_string()))
}

/// A privilege as SQL has it.
pub(super) const fn word(privilege: Privilege) -> &'static str {
    match privilege {
        Privilege::Connect => "CONNECT",
        Privilege::Create => "CREATE",
        Privilege::Temporary => "TEMPORARY",
    }
}

/// A privilege on a schema as SQL has it.
pub(super) const fn schema_word(privilege: SchemaPrivilege) -> &'static str {
    match privilege {
        SchemaPrivilege::Usage => "USAGE",
        SchemaPrivilege::Create => "CREATE",
    }
}

/// `work_mem`, or `auto_explain.log_min_duration` in two parts.
fn parameter_name(parameter: &str) -> Result<String, QuotingError> {
    Ok(match parameter.split_once('.') {
        Some((prefix, name)) => format!("{}.{}", Identifier::new(prefix)?, Identifier::new(name)?),
        None => Identifier::new(parameter)?.to_string(),
    })
}

/// The value, in as many parts as it has: in quotes as a whole, `a, b` would be one name.
fn parameter_value(parameter: &str, value: &str) -> Result<String, QuotingError> {
    let Some(items) = list_items(parameter, value) else { return Ok(Literal::new(value)?.to_string()) };
    if items.is_empty() {
        return Ok("''".to_owned());
    }
    let items = items.iter().map(|item| Literal::new(item).map(|item| item.to_string())).collect::<Result<Vec<_>, _>>()?;
    Ok(items.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sql(change: &Change) -> String {
        change.sql("Shop\"s").unwrap()
    }

    #[test]
    fn names_stay_names() {
        assert_eq!(sql(&Change::Owner("a b".into())), r#"ALTER DATABASE "Shop""s" OWNER TO "a b""#);
        assert_eq!(sql(&Change::Grant(None, Privilege::Connect)), r#"GRANT CONNECT ON DATABASE "Shop""s" TO PUBLIC"#);
        assert_eq!(
            sql(&Change::Grant(Some("PUBLIC".into()), Privilege::Temporary)),
            r#"GRANT TEMPORARY ON DATABASE "Shop""s" TO "PUBLIC""#
        );
        let extension = Change::CreateExtension { name: "uuid-ossp".into(), version: Some("1.1".into()), schema: Some("public".into()) };
        assert_eq!(sql(&extension), r#"CREATE EXTENSION "uuid-ossp" SCHEMA "public" VERSION '1.1'"#);
    }

    #[test]
    fn a_list_is_set_as_a_list_and_text_as_text() {
        let set = |name: &str, value: &str| sql(&Change::SetParameter(name.into(), value.into()));
        assert_eq!(set("search_path", "app, \"$user\""), r#"ALTER DATABASE "Shop""s" SET "search_path" TO 'app', '$user'"#);
        assert_eq!(set("search_path", ""), r#"ALTER DATABASE "Shop""s" SET "search_path" TO ''"#);
        assert_eq!(set("DateStyle", "ISO, DMY"), r#"ALTER DATABASE "Shop""s" SET "DateStyle" TO 'ISO, DMY'"#);
        assert_eq!(set("auto_explain.log_format", "a'b"), r#"ALTER DATABASE "Shop""s" SET "auto_explain"."log_format" TO 'a''b'"#);
    }
}
