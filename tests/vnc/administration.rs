//! What an administrator sees and changes over HTTP.

use outrigger::sidecars::vnc::{admittance::tickets::Tickets, viewers::Role};

use crate::{
    client::{Answer, BINARY, Client, request},
    desk::{Bridge, TOKEN, administrator, scripted},
};

async fn asked(bridge: &Bridge, request_line: &str, body: &str) -> Answer {
    request(bridge.address, &format!("{request_line} HTTP/1.1\r\nAuthorization: Bearer {TOKEN}"), body).await
}

#[tokio::test]
async fn activity_names_viewers_and_how_long_nobody_did_anything() {
    let (bridge, _desktop) = scripted(|_| {}).await;
    let nobody = request(bridge.address, "GET /activity HTTP/1.1", "").await;
    let json: serde_json::Value = serde_json::from_str(&nobody.body).unwrap();
    assert_eq!((nobody.status, &json["viewers"], &json["lastInput"]), (200, &serde_json::json!([]), &serde_json::Value::Null));
    assert!(json["withoutViewersSince"].is_string() && json["idleSeconds"].is_u64(), "{json}");

    let _client = Client::connect(bridge.address).await;
    bridge.has_viewers(1).await;
    let json: serde_json::Value = serde_json::from_str(&request(bridge.address, "GET /activity HTTP/1.1", "").await.body).unwrap();
    let viewer = &json["viewers"][0];
    assert_eq!((&viewer["address"], &viewer["role"], &viewer["user"]), (&"127.0.0.1".into(), &"control".into(), &serde_json::Value::Null));
    assert!(json["withoutViewersSince"].is_null());
}

#[tokio::test]
async fn an_administrators_token_is_needed_where_there_is_one() {
    let (open, _desktop) = scripted(|_| {}).await;
    for line in ["DELETE /viewers/1", "PUT /viewers/1/role", "POST /tickets"] {
        let refused = asked(&open, line, "{}").await;
        assert_eq!((refused.status, refused.body.contains("nobody is administrator")), (403, true), "{line}");
    }
    let (bridge, _desktop) = scripted(|settings| settings.administrator = Some(administrator())).await;
    for line in ["GET /activity", "DELETE /viewers/1", "PUT /viewers/1/role", "POST /tickets"] {
        for header in ["", "\r\nAuthorization: Bearer another", "\r\nAuthorization: Basic x"] {
            let refused = request(bridge.address, &format!("{line} HTTP/1.1{header}"), "{}").await;
            assert_eq!(refused.status, 401, "{line} {header}");
        }
    }
    assert_eq!(asked(&bridge, "GET /activity", "").await.status, 200);
}

#[tokio::test]
async fn who_is_connected_is_hidden_where_viewers_need_a_token_and_nobody_is_administrator() {
    let (bridge, _desktop) = scripted(|settings| settings.admittance.tickets = Some(Tickets::new(1))).await;
    assert_eq!(request(bridge.address, "GET /activity HTTP/1.1", "").await.status, 403);
}

#[tokio::test]
async fn a_page_learns_whether_it_would_be_let_in_and_changes_nothing_by_that() {
    let (bridge, desktop) = scripted(|settings| {
        settings.admittance.tickets = Some(Tickets::new(10));
        settings.administrator = Some(administrator());
        settings.limits.total = 1;
    })
    .await;
    let ask = async |lines: &str| request(bridge.address, &format!("POST /admittance HTTP/1.1{lines}"), "").await;
    let none = ask("").await;
    assert_eq!((none.status, none.body.contains("a token is needed")), (401, true), "{none:?}");
    let issued = asked(&bridge, "POST /tickets", r#"{"role":"view"}"#).await;
    let issued: serde_json::Value = serde_json::from_str(&issued.body).unwrap();
    let ticket = issued["ticket"].as_str().unwrap();
    for _ in 0..2 {
        assert_eq!(ask(&format!("\r\nOutrigger-Token: {ticket}")).await.status, 204);
    }
    let elsewhere = ask(&format!("\r\nOutrigger-Token: {ticket}\r\nOrigin: https://evil.example")).await;
    assert_eq!(elsewhere.status, 403);
    let _viewer = Client::try_connect(bridge.address, "/websockify", &format!("Outrigger-Token: {ticket}\r\n")).await.unwrap();
    let _desktop = desktop.accept().await;
    let used = ask(&format!("\r\nOutrigger-Token: {ticket}")).await;
    assert_eq!((used.status, used.body.contains("it was used, or has expired")), (401, true), "{used:?}");
    let issued = asked(&bridge, "POST /tickets", r#"{"role":"view"}"#).await;
    let issued: serde_json::Value = serde_json::from_str(&issued.body).unwrap();
    let full = ask(&format!("\r\nOutrigger-Token: {}", issued["ticket"].as_str().unwrap())).await;
    assert_eq!((full.status, full.head.contains("retry-after: 10")), (429, true), "{full:?}");
}

#[tokio::test]
async fn a_viewer_is_revoked_and_given_another_role_by_its_number() {
    let (bridge, desktop) = scripted(|settings| settings.administrator = Some(administrator())).await;
    let mut client = Client::connect(bridge.address).await;
    let _desktop = desktop.accept().await;
    bridge.has_viewers(1).await;
    let id = bridge.desk.viewers().activity().viewers[0].id;

    assert_eq!(asked(&bridge, &format!("PUT /viewers/{id}/role"), r#"{"role":"view"}"#).await.status, 204);
    assert_eq!(bridge.desk.viewers().activity().viewers[0].role, Role::View);
    assert_eq!(asked(&bridge, &format!("PUT /viewers/{id}/role"), r#"{"role":"owner"}"#).await.status, 400);
    assert_eq!(asked(&bridge, "PUT /viewers/99/role", r#"{"role":"view"}"#).await.status, 404);

    assert_eq!(asked(&bridge, "DELETE /viewers/99", "").await.status, 404);
    assert_eq!(asked(&bridge, &format!("DELETE /viewers/{id}"), r#"{"reason":"someone else's turn"}"#).await.status, 204);
    assert_eq!(client.end().await, (1008, "someone else's turn".to_owned()));
    drop(client);
    bridge.has_viewers(0).await;
}

#[tokio::test]
async fn tickets_are_issued_only_where_they_are_used() {
    let (bridge, _desktop) = scripted(|settings| settings.administrator = Some(administrator())).await;
    let refused = asked(&bridge, "POST /tickets", r#"{"role":"view"}"#).await;
    assert_eq!((refused.status, refused.body.contains("tickets are not used here")), (409, true));
    assert_eq!(asked(&bridge, "POST /tickets", &format!(r#"{{"role":"view","user":"{}"}}"#, "x".repeat(5000))).await.status, 413);
    let mut client = Client::connect(bridge.address).await;
    client.send(BINARY, b"RFB").await;
}

#[tokio::test]
async fn a_ticket_lives_as_long_as_was_asked_for_or_is_refused() {
    let (bridge, _desktop) = scripted(|settings| {
        settings.admittance.tickets = Some(Tickets::new(10));
        settings.administrator = Some(administrator());
    })
    .await;
    for (seconds, status) in [(0, 400), (1, 201), (3600, 201), (3601, 400), (u64::MAX, 400)] {
        let answer = asked(&bridge, "POST /tickets", &format!(r#"{{"role":"view","seconds":{seconds}}}"#)).await;
        assert_eq!(answer.status, status, "{seconds}: {answer:?}");
        let told = if status == 201 { format!("\"seconds\":{seconds}") } else { "1 to 3600".to_owned() };
        assert!(answer.body.contains(&told), "{answer:?}");
    }
}
