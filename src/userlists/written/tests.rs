use std::time::Duration;

use kube::Client;

use crate::{
    runtime::fake_api::{FakeApi, Fate},
    userlists::{origins::Origin, source::SourceSecret},
};

use super::*;

const PATH: &str = "/api/v1/namespaces/db/secrets/list";

fn id(uid: &str) -> ListId {
    ListId { namespace: "db".to_owned(), name: "of-list".to_owned(), uid: uid.to_owned(), generation: 1 }
}

fn desired(text: &str) -> Desired {
    let data = BTreeMap::from([("userlist.txt".to_owned(), SecretSlice::from(text.as_bytes().to_vec()))]);
    Desired { name: "list".to_owned(), role: Role::List, digest: Some(format!("digest of {text}")), data }
}

/// An API server, and our part of it.
fn world() -> (FakeApi, Api<Secret>) {
    let api = FakeApi::default();
    let client: Client = api.client(|_| Fate::DONE);
    (api, Api::namespaced(client, "db"))
}

fn seen(api: &FakeApi) -> Option<WrittenSecret> {
    Some(WrittenSecret::read(&serde_json::from_value(api.object(PATH)?).unwrap()))
}

fn current() -> Claim {
    Claim::lasting(Duration::from_hours(1))
}

#[tokio::test]
async fn it_is_written_where_it_differs_and_only_there() {
    let (api, secrets) = world();
    assert!(desired("one").write(&secrets, &id("ours"), None, &current()).await.unwrap());
    assert!(!desired("one").write(&secrets, &id("ours"), seen(&api).as_ref(), &current()).await.unwrap());
    assert_eq!(api.writes().len(), 1);
    let mut stored = api.object(PATH).unwrap();
    stored["data"]["more"] = json!("eA==");
    api.put(PATH, stored);
    assert!(desired("one").write(&secrets, &id("ours"), seen(&api).as_ref(), &current()).await.unwrap());
    assert_eq!(api.object(PATH).unwrap()["data"], json!({"userlist.txt": STANDARD.encode("one")}), "what others have added goes");
    assert!(desired("two").write(&secrets, &id("ours"), seen(&api).as_ref(), &current()).await.unwrap());
    assert_eq!(api.writes().len(), 3);
}

#[tokio::test]
async fn nothing_is_written_by_who_may_have_lost_the_lease() {
    let (api, secrets) = world();
    let lost = Claim::for_test(Duration::from_hours(1));
    let create = desired("one").write(&secrets, &id("ours"), None, &lost).await;
    assert!(matches!(create, Err(WriteError::LeaseLost)), "{create:?}");
    desired("one").write(&secrets, &id("ours"), None, &current()).await.unwrap();
    let change = desired("two").write(&secrets, &id("ours"), seen(&api).as_ref(), &lost).await;
    assert!(matches!(change, Err(WriteError::LeaseLost)), "{change:?}");
    assert_eq!(api.writes().len(), 1);
}

#[tokio::test]
async fn the_secret_of_another_list_or_of_a_stranger_is_left_alone() {
    let (api, secrets) = world();
    desired("theirs").write(&secrets, &id("theirs"), None, &current()).await.unwrap();
    for sight in [seen(&api), None] {
        let refused = desired("ours").write(&secrets, &id("ours"), sight.as_ref(), &current()).await;
        assert!(matches!(refused, Err(WriteError::Foreign(_))), "{refused:?}");
    }
    let mut stored = api.object(PATH).unwrap();
    stored["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "apps/v1", "kind": "Deployment", "name": "x", "uid": "ours", "controller": true}]);
    api.put(PATH, stored);
    let refused = desired("ours").write(&secrets, &id("ours"), seen(&api).as_ref(), &current()).await;
    assert!(matches!(refused, Err(WriteError::Foreign(_))), "{refused:?}");
    assert_eq!(api.writes().len(), 1);
}

#[tokio::test]
async fn an_outdated_sight_overwrites_nothing() {
    let (api, secrets) = world();
    desired("one").write(&secrets, &id("ours"), None, &current()).await.unwrap();
    let outdated = seen(&api);
    desired("two").write(&secrets, &id("ours"), outdated.as_ref(), &current()).await.unwrap();
    let refused = desired("three").write(&secrets, &id("ours"), outdated.as_ref(), &current()).await;
    assert!(matches!(&refused, Err(WriteError::Request { source, .. }) if source.is_conflict()), "{refused:?}");
    assert_eq!(api.object(PATH).unwrap()["data"]["userlist.txt"], STANDARD.encode("two"));
}

#[tokio::test]
async fn one_that_is_not_seen_gets_its_label_back_and_keeps_what_it_remembers() {
    let (api, secrets) = world();
    desired("one").write(&secrets, &id("ours"), None, &current()).await.unwrap();
    let mut stored = api.object(PATH).unwrap();
    stored["metadata"]["labels"] = json!({"theirs": "x"});
    api.put(PATH, stored);
    let again = desired("two").write(&secrets, &id("ours"), None, &current()).await;
    assert!(matches!(&again, Err(WriteError::Request { source, .. }) if source.is_conflict()), "{again:?}");
    let stored = api.object(PATH).unwrap();
    assert_eq!(stored["data"]["userlist.txt"], STANDARD.encode("one"), "whoever has not seen it knows nothing of whom it remembers");
    assert_eq!(stored["metadata"]["labels"][MARK], "list");
}

/// What a Secret of a list with a user of another namespace, one who was removed and a probe remembers.
fn remembering() -> (Memory, WrittenSecret) {
    let name = |text: &str| UserName::new(text).unwrap();
    let secret = |namespace: &str, name: &str| SourceSecret {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        created: None,
        shared_with: Vec::new(),
        users: Vec::new(),
    };
    let origins =
        [("app", "team"), ("gone", "team"), ("own", "db")].map(|(user, namespace)| (name(user), Origin::of(&secret(namespace, user))));
    let users = ["app", "own"].map(|user| (name(user), Password::new("x").unwrap())).into();
    let past = Past { users, removed: [name("gone")].into(), origins: origins.into() };
    let memory = Memory {
        past,
        console_passwords: vec![SecretString::from("new"), SecretString::from("old")],
        key: [7; KEY_LENGTH],
        fresh_since: Some(Timestamp::from_second(1_000_000).unwrap()),
    };
    let written = holding(&memory, &["app", "gone", "own", "probe"]);
    (memory, written)
}

/// The Secret of a list with these names.
fn holding(memory: &Memory, names: &[&str]) -> WrittenSecret {
    let entries = names.iter().map(|user| (UserName::new(user).unwrap(), Password::new("x").unwrap()));
    let list = grammar::render(&entries.collect());
    let data = memory.data("userlist.txt", &list, "db");
    let digest = Some(memory.digest_key().of_list(list.expose_secret().as_bytes()));
    WrittenSecret { name: "list".to_owned(), version: "1".to_owned(), owner: None, labels: BTreeMap::new(), digest, data }
}

#[test]
fn all_is_remembered_whatever_the_probe_and_the_key_are_called_now() {
    let (memory, written) = remembering();
    for key in ["userlist.txt", "users.txt"] {
        let found = written.memory(key, "db", Some("probe"), None).unwrap();
        assert_eq!(
            (&found.past.users, &found.past.removed, &found.past.origins),
            (&memory.past.users, &memory.past.removed, &memory.past.origins)
        );
        let passwords: Vec<&str> = found.console_passwords.iter().map(ExposeSecret::expose_secret).collect();
        assert_eq!((passwords, found.key, found.fresh_since), (vec!["new", "old"], memory.key, memory.fresh_since));
        let renamed = written.memory(key, "db", Some("another"), None).unwrap();
        assert_eq!(renamed.past.origins, memory.past.origins);
        assert!(renamed.past.users.keys().any(|user| user.as_str() == "probe"), "who was the probe is to be removed");
        assert!(written.password_of(key, "probe").is_some());
    }
}

#[test]
fn of_a_list_that_somebody_has_changed_no_origin_is_made_up() {
    let (memory, mut written) = remembering();
    let [other, others] = ["\"mallory\" \"x\"\n", "\"probe\" \"x\"\n\"own\" \"x\"\n\"mallory\" \"x\"\n\"app\" \"x\"\n"];
    for list in [other, others] {
        written.data.insert("userlist.txt".to_owned(), SecretSlice::from(list.as_bytes().to_vec()));
        let alone = written.memory("userlist.txt", "db", None, None).unwrap().past;
        assert!(alone.origins.is_empty() && alone.users.contains_key(&UserName::new("mallory").unwrap()), "{alone:?}");
        let found = written.memory("userlist.txt", "db", Some("probe"), Some(&memory)).unwrap().past;
        assert_eq!((&found.users, &found.origins), (&memory.past.users, &memory.past.origins), "who knows better needs no list");
        let removed: Vec<&str> = found.removed.iter().map(UserName::as_str).collect();
        assert_eq!(removed, ["gone", "mallory"], "a pooler may have read of whom it named");
    }
}

#[test]
fn whose_a_removed_user_was_is_remembered_without_an_entry_in_the_list() {
    let (memory, _) = remembering();
    let found = holding(&memory, &["app", "own", "probe"]).memory("userlist.txt", "db", Some("probe"), None).unwrap();
    assert_eq!((found.past.removed, found.past.origins), (memory.past.removed, memory.past.origins));
}

#[tokio::test]
async fn a_secret_that_does_not_keep_its_label_is_said() {
    let api = FakeApi::default();
    let unlabelled = |api: &FakeApi| {
        let mut stored = api.object(PATH).unwrap();
        stored["metadata"]["labels"] = json!({"theirs": "x"});
        stored
    };
    let policed = api.clone();
    // A policy takes the label away from what is patched.
    let client = api.client(move |uri| match uri.query() {
        Some(query) if uri.path() == PATH && query.contains("fieldManager") => Fate::Answered(200, unlabelled(&policed)),
        _ => Fate::DONE,
    });
    let secrets: Api<Secret> = Api::namespaced(client, "db");
    desired("one").write(&secrets, &id("ours"), None, &current()).await.unwrap();
    api.put(PATH, unlabelled(&api));
    let refused = desired("two").write(&secrets, &id("ours"), None, &current()).await.unwrap_err();
    assert!(matches!(&refused, WriteError::Label(name) if name == "list"), "{refused:?}");
    assert!(refused.to_string().contains("does not keep the label outrigger.dev/userlist"), "{refused}");
}
