//! Names, places and claims.

use proptest::prelude::*;

use super::*;

fn rules() -> Rules {
    Rules {
        roots: vec!["/srv/files".to_owned(), "/srv/files/deep".to_owned(), "/etc/app".to_owned()],
        absolute_folders: false,
        unique_names: false,
        suffixes: Vec::new(),
        fetch_links: true,
        mode: None,
        folder_annotation: "folder".to_owned(),
    }
}

fn id(namespace: &str, kind: Kind, name: &str) -> ObjectId {
    ObjectId { namespace: namespace.to_owned(), kind, name: name.to_owned() }
}

fn object(id: &ObjectId, folder: Option<&str>, keys: &[(&str, u8)]) -> Object {
    let keys = keys.iter().map(|(key, digest)| ((*key).to_owned(), [*digest; 32])).collect();
    Object { id: id.clone(), folder: folder.map(str::to_owned), keys }
}

fn place(rules: &Rules, folder: &str, key: &str) -> Result<(usize, String), PathError> {
    let target = rules.target(&id("team", Kind::ConfigMap, "app"), Some(folder), key)?;
    Ok((target.root, target.path))
}

#[test]
fn kiwigrid_k8_no_annotation_leads_out_of_the_folders_that_are_allowed() {
    let nested = rules();
    let absolute = Rules { absolute_folders: true, ..rules() };
    for (folder, expected) in
        [("", "a"), ("sub", "sub/a"), ("./sub//deeper/", "sub/deeper/a"), ("/sub", "sub/a"), ("/etc/app", "etc/app/a")]
    {
        assert_eq!(place(&nested, folder, "a"), Ok((0, expected.to_owned())), "{folder}");
    }
    for (folder, root, path) in [
        ("sub", 0, "sub/a"),
        ("/srv/files", 0, "a"),
        ("/srv/files/sub", 0, "sub/a"),
        ("/srv/files/deep/sub", 1, "sub/a"),
        ("/etc/app", 2, "a"),
    ] {
        assert_eq!(place(&absolute, folder, "a"), Ok((root, path.to_owned())), "{folder}");
    }
    for folder in ["..", "sub/..", "../../etc", "/srv/files/../../etc", "a/../../b"] {
        assert!(matches!(place(&nested, folder, "a"), Err(PathError::Upwards(_))), "{folder}");
        assert!(matches!(place(&absolute, folder, "a"), Err(PathError::Upwards(_))), "{folder}");
    }
    for folder in ["/", "/etc", "/etc/application", "/srv", "/usr/bin"] {
        let error = place(&absolute, folder, "a").unwrap_err();
        assert!(error.to_string().contains("ALLOWED_FOLDERS"), "{folder}: {error}");
    }
}

#[test]
fn names_that_the_kernel_or_our_records_could_not_bear_are_refused() {
    let long = "n".repeat(256);
    for key in ["..", "..data", ".", "a/b", ".outrigger-files", ".outrigger-0123456789abcdef", &long] {
        assert!(matches!(place(&rules(), "", key), Err(PathError::Name(_) | PathError::Upwards(_))), "{key}");
    }
    for folder in ["..data", ".outrigger-x", "a\n/etc/evil", "a\u{1b}[2J", &long] {
        assert!(place(&rules(), folder, "a").is_err(), "{folder}");
    }
    let deep = "d/".repeat(2100);
    assert!(matches!(place(&rules(), &deep, "a"), Err(PathError::TooLong(_))));
    for key in [".hidden", "...", "a", "-"] {
        assert_eq!(place(&rules(), "", key).is_ok(), key != "...", "{key}");
    }
}

#[test]
fn unique_names_are_kiwigrids_and_never_longer_than_a_name_may_be() {
    let rules = Rules { unique_names: true, ..rules() };
    let named = |id: &ObjectId, key: &str| rules.target(id, None, key).unwrap().path;
    assert_eq!(named(&id("team", Kind::Secret, "app"), "a.json"), "namespace_team.secret_app.a.json");
    let (namespace, name) = ("n".repeat(63), "o".repeat(253));
    let long = id(&namespace, Kind::ConfigMap, &name);
    let (first, second) = (named(&long, "first.json"), named(&long, "second.json"));
    assert_eq!((first.len(), second.len()), (255, 255));
    assert!(first != second && first.contains(".json") && first.starts_with("namespace_nnn"), "{first}");
    assert_eq!(named(&long, "first.json"), first, "the same each time");
}

#[test]
fn a_record_names_the_same_place_and_a_hostile_one_names_none() {
    let rules = rules();
    for target in
        [Target { root: 0, path: "a/b".to_owned() }, Target { root: 1, path: "c".to_owned() }, Target { root: 2, path: "d/e".to_owned() }]
    {
        assert_eq!(rules.recorded(&rules.record(&target)), Ok(target));
    }
    for path in ["../a", "/etc/passwd", "", "/srv/files", "a/../../b", ".outrigger-files"] {
        assert!(rules.recorded(path).is_err(), "{path}");
    }
}

#[test]
fn only_keys_with_the_wanted_endings_are_mirrored() {
    let rules = Rules { suffixes: vec![".json".to_owned()], ..rules() };
    for (key, expected) in [("a.json", true), ("a.json.url", true), ("a.yaml", false), ("a.url", false), (".url", false)] {
        assert_eq!(rules.is_mirrored(key), expected, "{key}");
    }
    assert!(rules.is_link("a.url") && !rules.is_link(".url") && !rules.is_link("a"));
    let as_they_are = Rules { fetch_links: false, ..rules };
    assert!(!as_they_are.is_link("a.url"));
    assert_eq!(place(&as_they_are, "", "a.url"), Ok((0, "a.url".to_owned())));
}

#[test]
fn kiwigrid_k3_a_namespace_and_a_name_are_not_run_together() {
    let mut claims = Claims::new(Rules { unique_names: true, ..rules() });
    let (one, other) = (id("a", Kind::ConfigMap, "bc"), id("ab", Kind::ConfigMap, "c"));
    claims.put(&object(&one, None, &[("k", 1)]));
    claims.put(&object(&other, None, &[("k", 2)]));
    assert_eq!(claims.targets().count(), 2);
    claims.remove(&one);
    assert_eq!(claims.targets().map(|target| target.path.as_str()).collect::<Vec<_>>(), ["namespace_ab.configmap_c.k"]);
}

#[test]
fn kiwigrid_k4_the_first_object_has_the_file_and_the_next_when_that_goes() {
    let mut claims = Claims::new(rules());
    let (first, second) = (id("a", Kind::ConfigMap, "x"), id("b", Kind::ConfigMap, "x"));
    let target = Target { root: 0, path: "k".to_owned() };
    claims.put(&object(&second, None, &[("k", 2)]));
    claims.put(&object(&first, None, &[("k", 1)]));
    let digest = |claims: &Claims| claims.winner(&target).map(|(_, wanted)| wanted.source);
    assert_eq!(digest(&claims), Some(Source::Value([1; 32])));
    assert_eq!((claims.conflict_count(), claims.losers(&target).count()), (1, 1));
    claims.put(&object(&second, None, &[("k", 3)]));
    assert_eq!(digest(&claims), Some(Source::Value([1; 32])), "whoever came last");
    assert_eq!(claims.remove(&first), BTreeSet::from([target.clone()]));
    assert_eq!(digest(&claims), Some(Source::Value([3; 32])), "the file survives");
    claims.remove(&second);
    assert_eq!(digest(&claims), None);
}

#[test]
fn what_an_object_no_longer_wants_is_looked_at_too() {
    let mut claims = Claims::new(rules());
    let app = id("a", Kind::Secret, "x");
    claims.put(&object(&app, Some("old"), &[("k", 1), ("gone", 1)]));
    let (touched, refused) = claims.put(&object(&app, Some("new"), &[("k", 1), ("..bad", 1)]));
    let touched: Vec<&str> = touched.iter().map(|target| target.path.as_str()).collect();
    assert_eq!(touched, ["new/k", "old/gone", "old/k"]);
    assert_eq!(refused.len(), 1);
    let (_, refused) = claims.put(&object(&app, Some("new"), &[("k", 1), ("..bad", 1)]));
    assert!(refused.is_empty(), "that was said");
    assert_eq!(claims.winner(&Target { root: 0, path: "new/k".to_owned() }).unwrap().1.mode, 0o440, "a Secret's");
}

#[test]
fn steps_are_taken_only_where_something_differs() {
    let value = Wanted { source: Source::Value([1; 32]), mode: 0o644 };
    let link = Wanted { source: Source::Link([2; 32]), mode: 0o644 };
    let present = Present { digest: [1; 32], link: None, mode: 0o644 };
    for (wanted, present, expected) in [
        (None, None, Step::Keep),
        (None, Some(present), Step::Remove),
        (Some(value), None, Step::Write),
        (Some(value), Some(present), Step::Keep),
        (Some(value), Some(Present { mode: 0o600, ..present }), Step::SetMode),
        (Some(value), Some(Present { digest: [9; 32], ..present }), Step::Write),
        (Some(link), None, Step::Fetch),
        (Some(link), Some(present), Step::Fetch),
        (Some(link), Some(Present { link: Some([2; 32]), ..present }), Step::Keep),
        (Some(link), Some(Present { link: Some([3; 32]), ..present }), Step::Fetch),
    ] {
        assert_eq!(step(wanted, present), expected, "{wanted:?} {present:?}");
    }
}

/// Something that happens to an object.
#[derive(Debug, Clone)]
enum Event {
    Put(Object),
    Remove(ObjectId),
}

fn ids() -> impl Strategy<Value = ObjectId> {
    let kinds = prop_oneof![Just(Kind::ConfigMap), Just(Kind::Secret)];
    ("[ab]", kinds, "[xy]").prop_map(|(namespace, kind, name)| ObjectId { namespace, kind, name })
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let keys = prop::collection::btree_map("[kl](\\.url)?", (0_u8..3).prop_map(|digest| [digest; 32]), 0..3);
    let folder = prop::option::of(prop_oneof![Just("f".to_owned()), Just("..".to_owned())]);
    let put = (ids(), folder, keys).prop_map(|(id, folder, keys)| Event::Put(Object { id, folder, keys }));
    prop::collection::vec(prop_oneof![3 => put, 1 => ids().prop_map(Event::Remove)], 0..40)
}

proptest! {
    #[test]
    fn what_is_wanted_depends_on_what_is_there_and_not_on_how_it_came(events in events()) {
        let (mut claims, mut there) = (Claims::new(rules()), BTreeMap::new());
        let mut seen: BTreeMap<Target, Option<Wanted>> = BTreeMap::new();
        for event in events {
            let touched = match event {
                Event::Put(object) => {
                    let touched = claims.put(&object).0;
                    there.insert(object.id.clone(), object);
                    touched
                }
                Event::Remove(id) => {
                    there.remove(&id);
                    claims.remove(&id)
                }
            };
            // Whoever looks only at what was touched knows all.
            for target in touched {
                seen.insert(target.clone(), claims.winner(&target).map(|(_, wanted)| wanted));
            }
        }
        let mut afresh = Claims::new(rules());
        for object in there.values().rev() {
            afresh.put(object);
        }
        let wanted: BTreeMap<Target, Option<Wanted>> =
            afresh.targets().map(|target| (target.clone(), afresh.winner(target).map(|(_, wanted)| wanted))).collect();
        seen.retain(|_, wanted| wanted.is_some());
        prop_assert_eq!(seen, wanted);
        prop_assert_eq!(claims.conflict_count(), afresh.conflict_count());
    }

    #[test]
    fn no_name_leads_out(folder in ".{0,40}", key in ".{0,20}") {
        for rules in [rules(), Rules { absolute_folders: true, ..rules() }, Rules { unique_names: true, ..rules() }] {
            if let Ok(target) = rules.target(&id("n", Kind::ConfigMap, "o"), Some(&folder), &key) {
                prop_assert!(target.path.split('/').all(|part| !part.is_empty() && part != "." && !part.starts_with("..") && part.len() <= 255));
                prop_assert_eq!(rules.recorded(&rules.record(&target)).map(|again| rules.record(&again)), Ok(rules.record(&target)));
            }
        }
    }
}
