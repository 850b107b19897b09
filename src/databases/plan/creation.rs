//! The statement that creates a database.

use std::fmt::Write;

use crate::{
    api::pg_database::{LocaleProvider, PgDatabaseSpec, Strategy},
    postgres::quoting::{Identifier, Literal, QuotingError},
};

/// `CREATE DATABASE` with the OID that was chosen before: whatever becomes of the answer, the database can be told from one of the
/// same name that somebody else has made. Options but the owner are as the server has them, unless the spec says otherwise.
///
/// template0 is always clean and never busy: a copy of template1 waits for, and is refused because of, anybody who is connected to it.
///
/// # Errors
/// A name or value that PostgreSQL can't hold.
pub fn creation(database: &str, spec: &PgDatabaseSpec, oid: u32) -> Result<String, QuotingError> {
    let creation = spec.creation.clone().unwrap_or_default();
    let strategy = match creation.strategy {
        Some(Strategy::FileCopy) => "FILE_COPY",
        Some(Strategy::WalLog) | None => "WAL_LOG",
    };
    let template = creation.template.as_deref().unwrap_or("template0");
    let mut sql = format!("CREATE DATABASE {} OID {oid} STRATEGY {strategy}", Identifier::new(database)?);
    let mut name = |option: &str, value: Option<&str>| {
        value.map(|value| Ok(write!(sql, " {option} {}", Identifier::new(value)?))).transpose().map(drop)
    };
    name("TEMPLATE", Some(template))?;
    name("OWNER", spec.owner.as_ref().map(|owner| owner.name.as_str()))?;
    name("TABLESPACE", spec.tablespace.as_deref())?;
    let mut text = |option: &str, value: Option<&String>| {
        value.map(|value| Ok(write!(sql, " {option} {}", Literal::new(value)?))).transpose().map(drop)
    };
    text("ENCODING", creation.encoding.as_ref())?;
    text("LOCALE", creation.locale.as_ref())?;
    text("LC_COLLATE", creation.locale_collate.as_ref())?;
    text("LC_CTYPE", creation.locale_ctype.as_ref())?;
    text("ICU_LOCALE", creation.icu_locale.as_ref())?;
    text("ICU_RULES", creation.icu_rules.as_ref())?;
    text("BUILTIN_LOCALE", creation.builtin_locale.as_ref())?;
    text("COLLATION_VERSION", creation.collation_version.as_ref())?;
    if let Some(provider) = creation.locale_provider {
        sql.push_str(match provider {
            LocaleProvider::Libc => " LOCALE_PROVIDER libc",
            LocaleProvider::Icu => " LOCALE_PROVIDER icu",
            LocaleProvider::Builtin => " LOCALE_PROVIDER builtin",
        });
    }
    if let Some(limit) = spec.connection_limit {
        // Writing to a string can't fail.
        let _ = write!(sql, " CONNECTION LIMIT {limit}");
    }
    Ok(sql)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sql(database: &str, spec: serde_json::Value) -> String {
        creation(database, &serde_json::from_value(spec).unwrap(), 20_000).unwrap()
    }

    #[test]
    fn sqlx_1283_template0_is_copied_unless_another_is_named() {
        assert_eq!(sql("Shop", json!({"server": "s"})), r#"CREATE DATABASE "Shop" OID 20000 STRATEGY WAL_LOG TEMPLATE "template0""#);
    }

    #[test]
    fn all_options_are_written() {
        let spec = json!({
            "server": "s", "owner": {"name": "o"}, "tablespace": "fast", "connectionLimit": 7,
            "creation": {"template": "golden", "strategy": "FILE_COPY", "encoding": "UTF8", "localeProvider": "icu", "icuLocale": "de"},
        });
        assert_eq!(
            sql("shop", spec),
            "CREATE DATABASE \"shop\" OID 20000 STRATEGY FILE_COPY TEMPLATE \"golden\" OWNER \"o\" TABLESPACE \"fast\" \
             ENCODING 'UTF8' ICU_LOCALE 'de' LOCALE_PROVIDER icu CONNECTION LIMIT 7"
        );
    }
}
