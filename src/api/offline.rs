//! The single-object rules without an API server, for `outrigger validate`: the same schemas and the Rust twins of their CEL
//! rules, and after them the validators across objects, fed with the files' own objects.

use std::collections::HashMap;

use regex::Regex;
use serde_json::Value;

use super::{
    container, crd,
    finding::{Finding, Verdict},
    inventory::Inventory,
    nearest::nearest,
    pg_database::{
        self,
        claim::{self, Claim},
    },
    pg_server::{self, Server},
    rule::{Rule, Twin, text},
    schema, selector,
    session::{
        self,
        usage::{self, Template, Usage},
    },
    session_template, user_list,
};

mod defaults;
mod structure;

/// Why the schemas can't be used.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    /// The definitions can't be made.
    #[error("the kinds' definitions can't be made")]
    Definitions(#[from] crd::CrdError),
    /// A definition can't be read as JSON.
    #[error("the schema of {kind} can't be read")]
    Schema {
        /// The kind.
        kind: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A pattern isn't a regular expression.
    #[error("the pattern {pattern:?} can't be used")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// Why.
        #[source]
        source: regex::Error,
    },
}

/// Judges objects of our kinds without an API server.
#[derive(Debug)]
pub struct OfflineValidator {
    kinds: HashMap<String, Kind>,
    patterns: HashMap<String, Regex>,
    /// The twins by their CEL text: what the schema says is what is judged.
    twins: HashMap<&'static str, Twin>,
}

#[derive(Debug)]
struct Kind {
    is_namespaced: bool,
    schema: Value,
}

const GROUP: &str = "outrigger.dev";
const API_VERSION: &str = "outrigger.dev/v1alpha1";

impl OfflineValidator {
    /// Prepares the schemas of all kinds.
    pub fn new() -> Result<Self, OfflineError> {
        let mut kinds = HashMap::new();
        let mut patterns = HashMap::new();
        for definition in crd::crds()? {
            let kind = definition.spec.names.kind.clone();
            let schema = definition.spec.versions.into_iter().find_map(|version| version.schema?.open_api_v3_schema);
            let schema = serde_json::to_value(schema).map_err(|source| OfflineError::Schema { kind: kind.clone(), source })?;
            compile_patterns(&schema, &mut patterns)?;
            kinds.insert(kind, Kind { is_namespaced: definition.spec.scope == "Namespaced", schema });
        }
        Ok(Self { kinds, patterns, twins: all_rules().map(|rule| (rule.cel, rule.twin)).collect() })
    }

    /// Judges one object by itself, as the API server would when it is created. None: it is not of our group.
    #[must_use]
    pub fn validate(&self, object: &Value) -> Option<Verdict> {
        let api_version = text(object, "apiVersion")?;
        if api_version.split('/').next() != Some(GROUP) {
            return None;
        }
        if api_version != API_VERSION {
            return Some(Finding::of("apiVersion", api_version, format!("is not a version of this group; write {API_VERSION}")).into());
        }
        let name = text(object, "kind").unwrap_or_default();
        Some(self.kinds.get(name).map_or_else(|| self.unknown_kind(name), |kind| self.validate_kind(kind, object)))
    }

    /// Judges many objects: each by itself and, where nothing speaks against it, among the others.
    #[must_use]
    pub fn validate_all(&self, objects: &[Value], default_namespace: &str) -> Vec<Option<Verdict>> {
        let objects: Vec<Value> = objects.iter().map(|object| self.placed(object, default_namespace)).collect();
        let mut verdicts: Vec<Option<Verdict>> = objects.iter().map(|object| self.validate(object)).collect();
        let mut known = Inventory::default();
        for (object, verdict) in sound(&objects, &mut verdicts) {
            if let Err(finding) = learn(&mut known, object) {
                verdict.deny(finding);
            }
        }
        for (object, verdict) in sound(&objects, &mut verdicts) {
            match judge(object, &known) {
                Ok(among_others) => verdict.extend(among_others),
                Err(finding) => verdict.deny(finding),
            }
        }
        verdicts
    }

    /// The object in the namespace it would be created in.
    fn placed(&self, object: &Value, default_namespace: &str) -> Value {
        let mut object = object.clone();
        let kind = text(&object, "kind").and_then(|kind| self.kinds.get(kind));
        if kind.is_some_and(|kind| kind.is_namespaced)
            && let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut)
        {
            metadata.entry("namespace").or_insert_with(|| default_namespace.into());
        }
        object
    }

    fn unknown_kind(&self, name: &str) -> Verdict {
        let meant = nearest(name, self.kinds.keys().map(String::as_str));
        let way_out = meant.map_or_else(|| "see outrigger crds".to_owned(), |meant| format!("did you mean {meant}?"));
        Finding::of("kind", name, format!("is not a kind of {API_VERSION}; {way_out}")).into()
    }

    fn validate_kind(&self, kind: &Kind, object: &Value) -> Verdict {
        let mut object = object.clone();
        // The status belongs to the controllers: the API server ignores it here.
        if let Some(fields) = object.as_object_mut() {
            fields.remove("status");
        }
        defaults::apply(&kind.schema, &mut object);
        let mut verdict = check_metadata(kind, &object);
        let mut checker = structure::Checker::new(&self.patterns, &self.twins);
        checker.check_object(&kind.schema, &object);
        verdict.denials.extend(checker.into_findings());
        verdict
    }
}

/// All rules of all kinds.
fn all_rules() -> impl Iterator<Item = Rule> {
    let tables = [
        schema::RULES,
        selector::RULES,
        container::RULES,
        pg_server::RULES,
        pg_database::RULES,
        user_list::RULES,
        session_template::RULES,
        session::RULES,
    ];
    tables.into_iter().flatten().copied().flatten().copied()
}

fn compile_patterns(schema: &Value, patterns: &mut HashMap<String, Regex>) -> Result<(), OfflineError> {
    if let Some(pattern) = text(schema, "pattern") {
        let compiled = Regex::new(pattern).map_err(|source| OfflineError::Pattern { pattern: pattern.to_owned(), source })?;
        patterns.insert(pattern.to_owned(), compiled);
    }
    structure::subschemas(schema).try_for_each(|subschema| compile_patterns(subschema, patterns))
}

fn check_metadata(kind: &Kind, object: &Value) -> Verdict {
    let mut verdict = Verdict::default();
    let field = |field| object.get("metadata").and_then(|metadata| text(metadata, field));
    match (field("name"), field("generateName")) {
        (Some(name), _) if !schema::is_subdomain(name) => verdict.deny(Finding::of("metadata.name", name, schema::OBJECT_NAME.message)),
        (None, None) => verdict.deny(Finding::at("metadata.name", "is required")),
        _ => {}
    }
    if let (false, Some(namespace)) = (kind.is_namespaced, field("namespace")) {
        verdict.warn(Finding::of("metadata.namespace", namespace, "objects of this kind are in no namespace; it is ignored"));
    }
    verdict
}

/// The objects of ours that nothing speaks against, with their verdicts.
fn sound<'a>(objects: &'a [Value], verdicts: &'a mut [Option<Verdict>]) -> impl Iterator<Item = (&'a Value, &'a mut Verdict)> {
    let judged = objects.iter().zip(verdicts).filter_map(|(object, verdict)| Some((object, verdict.as_mut()?)));
    judged.filter(|(_, verdict)| verdict.is_allowed())
}

/// Makes an object known to the others.
fn learn(known: &mut Inventory, object: &Value) -> Result<(), Finding> {
    let json = object.to_string();
    let json = json.as_bytes();
    match text(object, "kind") {
        Some("PgServer") => known.add_server(Server::from_json(json)?),
        Some("PgDatabase") => known.add_claim(Claim::from_json(json)?),
        Some("SessionTemplate") => known.add_template(Template::from_json(json)?),
        Some("Session") => known.add_session(&Usage::from_json(json)?),
        _ => {}
    }
    Ok(())
}

/// Judges an object among the others.
fn judge(object: &Value, known: &Inventory) -> Result<Verdict, Finding> {
    let json = object.to_string();
    let json = json.as_bytes();
    match text(object, "kind") {
        Some("PgDatabase") => Ok(claim::validate(&Claim::from_json(json)?, known)),
        Some("Session") => Ok(usage::validate(&Usage::from_json(json)?, known)),
        _ => Ok(Verdict::default()),
    }
}

#[cfg(test)]
mod tests;
