use std::time::Duration;

use kube::Client;

use crate::runtime::fake_api::{FakeApi, Fate};

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
