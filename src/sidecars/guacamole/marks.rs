//! How we know again in the database what is ours: attributes, which Guacamole keeps for extensions and leaves alone when somebody edits
//! an object in its pages.
//!
//! Whoever may see an object may read its attributes, so no secret stands in them.

use std::{collections::BTreeSet, sync::Arc};

use super::model::{Origin, Permission};

/// How the names of all our attributes begin.
pub(crate) const PREFIX: &str = "outrigger-";
/// Whose an object is: `<owner>/`. A connection's mark also says which row it was written for, so that one on a copy is known for what it
/// is, and where the connection comes from: `<owner>/<number>/<file>#<key>`. Only what bears its mark is ever removed.
pub(crate) const OWNER: &str = "outrigger-owner";
/// The names of the attributes that its file gave it, so that those are removed with the file's entry, and others are not.
pub(crate) const ATTRIBUTES: &str = "outrigger-attributes";
/// What was granted on an object because a file says so, as numbers of entities: `READ:1,2 UPDATE:1`. Other grants are not ours.
const GRANTS: &str = "outrigger-grants-";

/// As many grants as fit into one attribute for certain: a number has up to 10 digits, and a value 4096 characters.
const GRANTS_PER_ATTRIBUTE: usize = 300;

/// Attributes of an object, by name.
pub(crate) type Attributes = Vec<(Arc<str>, String)>;

/// Grants, by the number of their entity.
pub(crate) type GrantSet = BTreeSet<(i32, Permission)>;

/// The value of an attribute.
pub(crate) fn attribute<'a>(attributes: &'a Attributes, name: &str) -> Option<&'a str> {
    attributes.iter().find(|(known, _)| **known == *name).map(|(_, value)| value.as_str())
}

/// Whose mark an object bears.
pub(crate) fn owner(attributes: &Attributes) -> Option<&str> {
    Some(attribute(attributes, OWNER)?.split_once('/')?.0)
}

/// Where the connection with this number comes from, if it is an owner's and no copy.
pub(crate) fn origin(attributes: &Attributes, owner: &str, number: i32) -> Option<Origin> {
    origin_text(attributes, owner, number).map(Origin::read)
}

/// The same, as it is written.
pub(crate) fn origin_text<'a>(attributes: &'a Attributes, owner: &str, number: i32) -> Option<&'a str> {
    let mark = attribute(attributes, OWNER)?.strip_prefix(owner)?.strip_prefix('/')?;
    let (marked, origin) = mark.split_once('/')?;
    (marked.parse() == Ok(number)).then_some(origin)
}

/// The mark of an owner's connection.
pub(crate) fn connection_mark(owner: &str, number: i32, origin: &Origin) -> String {
    format!("{owner}/{number}/{origin}")
}

/// The mark of all else that an owner has made.
pub(crate) fn owner_mark(owner: &str) -> String {
    format!("{owner}/")
}

/// What was granted on an object for an owner.
pub(crate) fn recorded_grants(attributes: &Attributes, owner: &str) -> GrantSet {
    let records = attributes.iter().filter(|(name, _)| recorded_for(name) == Some(owner));
    records.flat_map(|(_, value)| read_grants(value)).collect()
}

/// What was granted on an object for anybody but this owner.
pub(crate) fn grants_of_others(attributes: &Attributes, owner: &str) -> GrantSet {
    let records = attributes.iter().filter(|(name, _)| recorded_for(name).is_some_and(|known| known != owner));
    records.flat_map(|(_, value)| read_grants(value)).collect()
}

/// The names of the attributes that hold an owner's grants now.
pub(crate) fn record_names<'a>(attributes: &'a Attributes, owner: &str) -> Vec<&'a str> {
    attributes.iter().map(|(name, _)| &**name).filter(|name| recorded_for(name) == Some(owner)).collect()
}

/// The attributes that hold these grants.
pub(crate) fn record(owner: &str, grants: &GrantSet) -> Attributes {
    let grants: Vec<_> = grants.iter().copied().collect();
    let pieces = grants.chunks(GRANTS_PER_ATTRIBUTE).enumerate();
    pieces.map(|(index, piece)| (record_name(owner, index).into(), write_grants(piece))).collect()
}

fn record_name(owner: &str, index: usize) -> String {
    if index == 0 { format!("{GRANTS}{owner}") } else { format!("{GRANTS}{owner}#{index}") }
}

/// Whose grants an attribute holds. Names of owners have no `#`.
fn recorded_for(name: &str) -> Option<&str> {
    let rest = name.strip_prefix(GRANTS)?;
    Some(rest.split_once('#').map_or(rest, |(owner, _)| owner))
}

fn write_grants(grants: &[(i32, Permission)]) -> String {
    let entities = |permission: Permission| {
        grants.iter().filter(move |(_, granted)| *granted == permission).map(|(entity, _)| entity.to_string()).collect::<Vec<_>>().join(",")
    };
    let lists = Permission::ALL.iter().map(|permission| (permission.as_str(), entities(*permission)));
    lists.filter(|(_, list)| !list.is_empty()).map(|(name, list)| format!("{name}:{list}")).collect::<Vec<_>>().join(" ")
}

/// What somebody else has written into it is not ours.
fn read_grants(text: &str) -> impl Iterator<Item = (i32, Permission)> {
    let lists = text.split(' ').filter_map(|list| list.split_once(':'));
    let lists = lists.filter_map(|(name, entities)| Some((Permission::read(name)?, entities)));
    lists.flat_map(|(permission, entities)| {
        entities.split(',').filter_map(move |entity| entity.parse().ok().map(|entity| (entity, permission)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_as_they_were_written_however_long() {
        for count in [0, 1, 3, GRANTS_PER_ATTRIBUTE, GRANTS_PER_ATTRIBUTE + 1, 2000] {
            let permission = |entity: i32| if entity % 3 == 0 { Permission::Administer } else { Permission::Read };
            let grants: GrantSet = (0..i32::try_from(count).unwrap()).map(|entity| (i32::MAX - entity, permission(entity))).collect();
            let attributes = record("lab", &grants);
            assert!(attributes.iter().all(|(_, value)| value.len() <= 4096));
            assert_eq!(attributes.len(), count.div_ceil(GRANTS_PER_ATTRIBUTE));
            assert_eq!(recorded_grants(&attributes, "lab"), grants);
            assert_eq!(grants_of_others(&attributes, "other"), grants);
            assert_eq!(recorded_grants(&attributes, "la"), GrantSet::new());
            assert_eq!(record_names(&attributes, "lab").len(), attributes.len());
        }
    }

    #[test]
    fn what_somebody_else_wrote_into_a_record_is_not_ours() {
        let attributes = vec![("outrigger-grants-lab".into(), "READ:1,x FLY:2 nonsense UPDATE:3".to_owned())];
        assert_eq!(recorded_grants(&attributes, "lab"), GrantSet::from([(1, Permission::Read), (3, Permission::Update)]));
    }

    #[test]
    fn a_mark_names_owner_and_origin() {
        let origin = Origin { file: "a/b.yaml".into(), key: "ROOT/x/y".into() };
        let attributes = vec![(OWNER.into(), connection_mark("lab", 7, &origin))];
        assert_eq!((owner(&attributes), super::origin(&attributes, "lab", 7)), (Some("lab"), Some(origin)));
        assert_eq!(super::origin(&attributes, "lab", 8), None, "it was copied to another row");
        assert_eq!(super::origin(&attributes, "la", 7), None);
        assert_eq!(owner(&Attributes::new()), None);
    }
}
