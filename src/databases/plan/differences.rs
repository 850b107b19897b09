//! What differs between what is asked for and what the shared catalogue says.

use std::{collections::BTreeSet, fmt};

use crate::{
    api::pg_database::{Creation, LocaleProvider, Privilege},
    postgres::catalogue::Database,
};

use super::{Change, Seen, Wish, change::word, may_reset};

/// Parameters whose value is a list of names (`GUC_LIST_QUOTE` in the server's sources; `pg_dump` keeps the same list).
const LISTS: [&str; 6] = [
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
    "unix_socket_directories",
];

/// A field of the spec from which the database differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The field, such as `connectionLimit`.
    pub field: String,
    /// What is asked for.
    pub wanted: String,
    /// What there is.
    pub found: String,
    /// What would change it; none if nothing can.
    pub change: Option<Change>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {:?} and should be {:?}", self.field, self.found, self.wanted)
    }
}

#[allow(clippy::needless_pass_by_value, reason = "numbers and texts alike, without a & before each")]
pub(super) fn difference(
    field: impl Into<String>,
    wanted: impl fmt::Display,
    found: impl fmt::Display,
    change: impl Into<Option<Change>>,
) -> Difference {
    Difference { field: field.into(), wanted: wanted.to_string(), found: found.to_string(), change: change.into() }
}

/// All differences that the shared catalogue shows. Another tablespace comes late, since it waits until nobody is connected, and that
/// nobody may connect comes last: what is inside is changed before.
pub(super) fn of(wish: &Wish, seen: &Seen, database: &Database) -> Vec<Difference> {
    let spec = &wish.spec;
    let mut found = Vec::new();
    if let Some(creation) = &spec.creation {
        immutable(creation, database, &mut found);
    }
    if let Some(owner) = spec.owner.as_ref().filter(|owner| owner.name != database.owner) {
        found.push(difference("owner.name", &owner.name, &database.owner, Change::Owner(owner.name.clone())));
    }
    if let Some(limit) = spec.connection_limit.filter(|limit| *limit != database.connection_limit) {
        found.push(difference("connectionLimit", limit, database.connection_limit, Change::ConnectionLimit(limit)));
    }
    if let Some(is_template) = spec.is_template.filter(|is_template| *is_template != database.is_template) {
        found.push(difference("isTemplate", is_template, database.is_template, Change::IsTemplate(is_template)));
    }
    parameters(wish, seen, database, &mut found);
    privileges(wish, database, &mut found);
    if let Some(tablespace) = spec.tablespace.as_ref().filter(|tablespace| **tablespace != database.tablespace) {
        found.push(difference("tablespace", tablespace, &database.tablespace, Change::Tablespace(tablespace.clone())));
    }
    if let Some(allow) = spec.allow_connections.filter(|allow| *allow != database.allow_connections) {
        found.push(difference("allowConnections", allow, database.allow_connections, Change::AllowConnections(allow)));
    }
    found
}

/// What only CREATE DATABASE can decide: only told.
fn immutable(creation: &Creation, database: &Database, found: &mut Vec<Difference>) {
    let mut compare = |field: &str, wanted: Option<&str>, is: &str| {
        if let Some(wanted) = wanted.filter(|wanted| *wanted != is) {
            found.push(difference(format!("creation.{field}"), wanted, is, None));
        }
    };
    let encoding = creation.encoding.as_deref().filter(|encoding| plain(encoding) != plain(&database.encoding));
    compare("encoding", encoding, &database.encoding);
    let provider = creation.locale_provider.map(|provider| match provider {
        LocaleProvider::Libc => "libc",
        LocaleProvider::Icu => "icu",
        LocaleProvider::Builtin => "builtin",
    });
    let found_provider = match database.provider.as_str() {
        "i" => "icu",
        "b" => "builtin",
        _ => "libc",
    };
    compare("localeProvider", provider, found_provider);
    compare("localeCollate", creation.locale_collate.as_deref().or(creation.locale.as_deref()), &database.collate);
    compare("localeCType", creation.locale_ctype.as_deref().or(creation.locale.as_deref()), &database.ctype);
    // The server keeps the canonical form of an ICU locale, so only another provider can be told for sure.
    compare("builtinLocale", creation.builtin_locale.as_deref(), database.locale.as_deref().unwrap_or_default());
    compare("icuRules", creation.icu_rules.as_deref(), database.icu_rules.as_deref().unwrap_or_default());
}

/// A character set as the server compares it: `utf-8` is `UTF8`.
fn plain(encoding: &str) -> String {
    encoding.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_uppercase()).collect()
}

fn parameters(wish: &Wish, seen: &Seen, database: &Database, found: &mut Vec<Difference>) {
    let has = |name: &str| database.parameters.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str());
    for (name, wanted) in &wish.spec.parameters {
        let is = has(name);
        if !is.is_some_and(|is| means_the_same(name, is, wanted)) {
            let change = seen.contexts.get(&name.to_ascii_lowercase()).is_none_or(|context| is_settable(context));
            let change = change.then(|| Change::SetParameter(name.clone(), wanted.clone()));
            found.push(difference(format!("parameters.{name}"), wanted, is.unwrap_or("the server's"), change));
        }
    }
    let is_wanted = |name: &str| wish.spec.parameters.keys().any(|wanted| wanted.eq_ignore_ascii_case(name));
    for name in wish.parameters_before.iter().filter(|name| !is_wanted(name)) {
        if let Some(is) = has(name) {
            // Somebody with more rights may have set it, whatever the object has asked for since.
            let change = may_reset(wish, seen, name).then(|| Change::ResetParameter(name.clone()));
            found.push(difference(format!("parameters.{name}"), "the server's", is, change));
        }
    }
}

/// Whether a database can have a value of its own for a parameter of this context.
fn is_settable(context: &str) -> bool {
    matches!(context, "user" | "superuser" | "backend" | "superuser-backend")
}

fn means_the_same(name: &str, is: &str, wanted: &str) -> bool {
    is == wanted || list_items(name, is).is_some_and(|items| list_items(name, wanted) == Some(items))
}

/// The names in the value of a parameter that is a list of names; none for any other parameter.
pub(super) fn list_items(name: &str, value: &str) -> Option<Vec<String>> {
    LISTS.iter().any(|list| list.eq_ignore_ascii_case(name)).then(|| {
        let (mut items, mut rest) = (Vec::new(), value.trim());
        while !rest.is_empty() {
            let (item, after) = next_item(rest);
            // No name at all: an empty list is stored as one empty name.
            items.extend((!item.is_empty()).then_some(item));
            rest = after.trim_start().strip_prefix(',').unwrap_or_default().trim_start();
        }
        items
    })
}

/// The name that comes first, and what is behind it. Without quotes it is lower case, as the server reads it.
fn next_item(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let (item, after) = text.split_at(text.find(',').unwrap_or(text.len()));
        return (item.trim_end().to_lowercase(), after);
    };
    let (mut item, mut rest) = (String::new(), quoted);
    while let Some((part, after)) = rest.split_once('"') {
        item.push_str(part);
        match after.strip_prefix('"') {
            Some(more) => {
                item.push('"');
                rest = more;
            }
            None => return (item, after),
        }
    }
    // A quote that nobody closes: all the rest.
    (item + rest, "")
}

fn privileges(wish: &Wish, database: &Database, found: &mut Vec<Difference>) {
    if let Some(wanted) = &wish.spec.public_privileges {
        grants(None, wanted, database, "publicPrivileges", found);
    }
    // The owner has all privileges, which nobody needs to give.
    for wanted in wish.spec.privileges.iter().filter(|wanted| wanted.role != database.owner) {
        grants(Some(&wanted.role), &wanted.privileges, database, &format!("privileges.{}", wanted.role), found);
    }
}

fn grants(role: Option<&str>, wanted: &[Privilege], database: &Database, field: &str, found: &mut Vec<Difference>) {
    let none = BTreeSet::new();
    let has = database.privileges.get(role.unwrap_or_default()).unwrap_or(&none);
    for privilege in [Privilege::Connect, Privilege::Create, Privilege::Temporary] {
        let (is_wanted, is_there) = (wanted.contains(&privilege), has.contains(word(privilege)));
        let role = role.map(ToOwned::to_owned);
        match (is_wanted, is_there) {
            (true, false) => found.push(difference(field, word(privilege), "not granted", Change::Grant(role, privilege))),
            (false, true) => found.push(difference(field, "not granted", word(privilege), Change::Revoke(role, privilege))),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_names_is_read_as_the_server_reads_it() {
        let items = |value: &str| list_items("search_path", value).unwrap();
        assert_eq!(items("App, \"$user\" ,\"a\"\"b,c\""), ["app", "$user", "a\"b,c"]);
        assert_eq!(items(""), [""; 0]);
        assert_eq!(items("\"open"), ["open"]);
        assert_eq!(items("a, \"\", ,b"), ["a", "b"]);
        assert!(means_the_same("search_path", "\"\"", ""));
        assert_eq!(list_items("DateStyle", "ISO, DMY"), None);
        assert!(means_the_same("search_path", "app, \"$user\"", "app,\"$user\"") && !means_the_same("search_path", "app", "\"App\""));
    }
}
