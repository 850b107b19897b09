//! Single-object rules of `PgDatabase`.

use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::Value;

use crate::api::{
    postgres_name,
    rule::{Rule, has, items, text},
    schema,
};

/// All rules of this kind's objects.
pub(crate) const RULES: &[&[Rule]] = &[
    &[NAME_IS_KEPT, NAME_FITS, NAME_IS_NOT_RESERVED, TEMPLATE_IS_ANOTHER],
    &SPEC,
    &CREATION,
    &ENCODING,
    &LOCALE,
    &EXTENSION,
    &PARAMETERS,
    &SCHEMA_NAME,
];

/// Of the whole object, since the name of the database may be the object's own. That one never changes, so neither does the other.
pub(super) const NAME_IS_KEPT: Rule = Rule::on_update(
    "(has(self.spec.name) ? self.spec.name : self.metadata.name) == (has(oldSelf.spec.name) ? oldSelf.spec.name : oldSelf.metadata.name)",
    "a database isn't renamed; make a new PgDatabase with the new name, and delete this one",
)
.at(".spec.name");

/// Names of objects are longer than those of databases may be.
pub(super) const NAME_FITS: Rule = Rule::new(
    "has(self.spec.name) || size(self.metadata.name) <= 63",
    "metadata.name is longer than 63 bytes, and PostgreSQL would cut it; write a shorter name for the database here",
    |object| has_own_name(object) || postgres_name::fits(metadata_name(object)),
)
.at(".spec.name");

pub(super) const NAME_IS_NOT_RESERVED: Rule = Rule::new(
    "has(self.spec.name) || !(self.metadata.name in ['postgres', 'template0', 'template1', 'outrigger'])",
    "metadata.name is that of a database which belongs to the server or to Outrigger; write another name for the database here",
    |object| has_own_name(object) || !postgres_name::is_reserved_database(metadata_name(object)),
)
.at(".spec.name");

pub(super) const TEMPLATE_IS_ANOTHER: Rule = Rule::new(
    "!has(self.spec.creation) || !has(self.spec.creation.template) || \
     self.spec.creation.template != (has(self.spec.name) ? self.spec.name : self.metadata.name)",
    "a database can't be copied from itself; name another template",
    |object| {
        let in_spec = object.get("spec").and_then(|spec| text(spec, "name"));
        let name = super::database_name(in_spec, metadata_name(object));
        object.pointer("/spec/creation/template").and_then(Value::as_str).is_none_or(|template| template != name)
    },
)
.at(".spec.creation.template");

fn has_own_name(object: &Value) -> bool {
    object.get("spec").is_some_and(|spec| has(spec, "name"))
}

/// Empty while the API server still has to make one up, which then is no reserved one, and no longer than others.
fn metadata_name(object: &Value) -> &str {
    object.get("metadata").and_then(|metadata| text(metadata, "name")).unwrap_or_default()
}

/// Rules that look at several fields of the spec. A change of `creation` is judged here, one level up, so that adding it later or
/// taking it away is a change as well.
pub(super) const SPEC: [Rule; 5] = [
    Rule::on_update(
        "self.server == oldSelf.server",
        "a database can't move to another server; make a new PgDatabase there, and delete this one",
    )
    .at(".server"),
    Rule::on_update(
        "has(self.creation) == has(oldSelf.creation) && (!has(self.creation) || self.creation == oldSelf.creation)",
        "only CREATE DATABASE can decide this, so nothing of it can be added, changed or removed later; make a new PgDatabase",
    )
    .at(".creation"),
    Rule::new(
        "!has(self.connectionSecret) || (has(self.owner) && self.owner.create)",
        "only the password of a role that is created here is known; set owner.name and owner.create: true, or take this away",
        |spec| !has(spec, "connectionSecret") || spec.pointer("/owner/create").is_some_and(|create| create != false),
    )
    .at(".connectionSecret"),
    Rule::new(
        "!has(self.schemas) || !has(self.extensions) || self.extensions.all(e, !has(e.schema) || e.ensure == 'Absent' || \
         self.schemas.all(s, s.name != e.schema || s.ensure == 'Present'))",
        "an extension needs a schema that is Absent; keep the schema, or name another one for the extension",
        |spec| {
            let wanted = items(spec, "extensions").filter(|extension| text(extension, "ensure") != Some("Absent"));
            wanted.filter_map(|extension| text(extension, "schema")).all(|name| {
                items(spec, "schemas").all(|schema| text(schema, "name") != Some(name) || text(schema, "ensure") != Some("Absent"))
            })
        },
    )
    .at(".schemas"),
    Rule::new(
        "self.ensure == 'Present' || !has(self.connectionSecret)",
        "a database that is Absent has no connection; take connectionSecret away",
        |spec| text(spec, "ensure") != Some("Absent") || !has(spec, "connectionSecret"),
    )
    .at(".connectionSecret"),
];

/// Locale settings that go with one provider only, as the page of `CREATE DATABASE` says.
pub(super) const CREATION: [Rule; 4] = [
    Rule::new(
        "!has(self.icuLocale) || (has(self.localeProvider) && self.localeProvider == 'icu')",
        "is only for ICU; set localeProvider: icu, or use locale",
        |creation| !has(creation, "icuLocale") || text(creation, "localeProvider") == Some("icu"),
    )
    .at(".icuLocale"),
    Rule::new(
        "!has(self.icuRules) || (has(self.localeProvider) && self.localeProvider == 'icu')",
        "is only for ICU; set localeProvider: icu, or take icuRules away",
        |creation| !has(creation, "icuRules") || text(creation, "localeProvider") == Some("icu"),
    )
    .at(".icuRules"),
    Rule::new(
        "!has(self.builtinLocale) || (has(self.localeProvider) && self.localeProvider == 'builtin')",
        "is only for PostgreSQL's own provider; set localeProvider: builtin, or use locale",
        |creation| !has(creation, "builtinLocale") || text(creation, "localeProvider") == Some("builtin"),
    )
    .at(".builtinLocale"),
    Rule::new(
        "!has(self.builtinLocale) || self.builtinLocale in ['C', 'C.UTF-8', 'PG_UNICODE_FAST']",
        "PostgreSQL's own provider has the locales C, C.UTF-8 and PG_UNICODE_FAST; choose one, or another localeProvider",
        |creation| text(creation, "builtinLocale").is_none_or(|locale| ["C", "C.UTF-8", "PG_UNICODE_FAST"].contains(&locale)),
    )
    .at(".builtinLocale"),
];

pub(super) const ENCODING: [Rule; 1] =
    [Rule::new("self.matches('^[-A-Za-z0-9_]+$')", "is not the name of a character set; write one such as UTF8 or LATIN1", |encoding| {
        encoding.as_str().is_none_or(|name| name.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c)))
    })];

/// `plpgsql` is part of every database: without it, functions of other extensions stop working.
pub(super) const EXTENSION: [Rule; 1] = [Rule::new(
    "self.name != 'plpgsql' || self.ensure == 'Present'",
    "plpgsql belongs to every database and isn't dropped; take the entry away",
    |extension| text(extension, "name") != Some("plpgsql") || text(extension, "ensure") != Some("Absent"),
)
.at(".ensure")];

const SCHEMA_NAME: [Rule; 3] = [
    schema::NO_CONTROL_CHARACTERS,
    postgres_name::FITS,
    Rule::new(
        "!self.startsWith('pg_') && self != 'information_schema'",
        "information_schema and schemas that begin with pg_ belong to the server; choose another name",
        |name| name.as_str().is_none_or(|name| !name.starts_with("pg_") && name != "information_schema"),
    ),
];

/// The name of a schema that users may have.
pub(super) fn schema_name(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "minLength": 1, "maxLength": postgres_name::MAX_BYTES, "x-kubernetes-validations": SCHEMA_NAME })
}

/// The name of a locale.
pub(super) fn locale(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "minLength": 1, "maxLength": 63, "x-kubernetes-validations": LOCALE })
}

const LOCALE: [Rule; 1] =
    [Rule::new("self.matches('^[-A-Za-z0-9_.@=,]+$')", "is not the name of a locale; write one such as C.UTF-8 or de_DE.utf8", |locale| {
        locale.as_str().is_none_or(|name| name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.@=,".contains(c)))
    })];

const PARAMETERS: [Rule; 1] = [Rule::new(
    "self.all(name, name.matches('^[A-Za-z_][A-Za-z0-9_$]{0,62}([.][A-Za-z_][A-Za-z0-9_$]{0,62})?$'))",
    "a parameter's name is one word, or two with a dot between, such as work_mem or auto_explain.log_min_duration",
    |parameters| parameters.as_object().is_none_or(|map| map.keys().all(|name| is_parameter_name(name))),
)];

/// Parameters and their values.
pub(super) fn parameters(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object", "maxProperties": 64, "additionalProperties": { "type": "string", "maxLength": 1024 },
        "x-kubernetes-validations": PARAMETERS,
    })
}

fn is_parameter_name(name: &str) -> bool {
    match name.split_once('.') {
        Some((prefix, name)) => is_word(prefix) && is_word(name),
        None => is_word(name),
    }
}

fn is_word(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && word.len() <= 63
        && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '$')
}
