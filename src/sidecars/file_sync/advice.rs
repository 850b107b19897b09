//! What to tell people whose `ServiceAccount` may not read what they want mirrored: the commands that let it.

use super::observe::Scope;

/// The verbs that a stream needs.
const VERBS: &str = "get,list,watch";

/// A line for the log and the kubelet's Event. `refusal` is what the API server said, which names the account.
#[must_use]
pub(super) fn forbidden(scope: &Scope, refusal: &str) -> String {
    let account = account(refusal);
    let resource = scope.kind.plural();
    let only = scope.name.as_ref().map(|name| format!(" --resource-name={name}")).unwrap_or_default();
    let who = match &account {
        Some(Account::Service { namespace, name }) => format!("--serviceaccount={namespace}:{name}"),
        Some(Account::User(name)) => format!("--user={name}"),
        None => "--serviceaccount=NAMESPACE:NAME".to_owned(),
    };
    let role = format!("file-sync-{resource}");
    match &scope.namespace {
        Some(namespace) => format!(
            "forbidden; allow it with: kubectl create role {role} -n {namespace} --verb={VERBS} --resource={resource}{only} && \
             kubectl create rolebinding {role} -n {namespace} --role={role} {who}"
        ),
        None => format!(
            "forbidden; allow it with: kubectl create clusterrole {role} --verb={VERBS} --resource={resource}{only} && \
             kubectl create clusterrolebinding {role} --clusterrole={role} {who}"
        ),
    }
}

enum Account<'a> {
    Service { namespace: &'a str, name: &'a str },
    User(&'a str),
}

/// Who was refused: `configmaps is forbidden: User "system:serviceaccount:team:app" cannot list resource …`.
fn account(refusal: &str) -> Option<Account<'_>> {
    let (_, after) = refusal.split_once("User \"")?;
    let (user, _) = after.split_once('"')?;
    let service = user.strip_prefix("system:serviceaccount:").and_then(|account| account.split_once(':'));
    Some(service.map_or(Account::User(user), |(namespace, name)| Account::Service { namespace, name }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sidecars::file_sync::plan::Kind;

    fn scope(namespace: Option<&str>) -> Scope {
        Scope { kind: Kind::Secret, namespace: namespace.map(str::to_owned), name: None, labels: None }
    }

    #[test]
    fn the_commands_name_the_account_that_was_refused() {
        let refusal = "secrets is forbidden: User \"system:serviceaccount:team:app\" cannot list resource \"secrets\"";
        assert_eq!(
            forbidden(&scope(Some("dashboards")), refusal),
            "forbidden; allow it with: kubectl create role file-sync-secrets -n dashboards --verb=get,list,watch --resource=secrets && \
             kubectl create rolebinding file-sync-secrets -n dashboards --role=file-sync-secrets --serviceaccount=team:app"
        );
        let everywhere = forbidden(&scope(None), "User \"jane\" cannot list");
        assert!(everywhere.contains("clusterrolebinding") && everywhere.ends_with("--user=jane"), "{everywhere}");
        assert!(forbidden(&scope(None), "no").ends_with("--serviceaccount=NAMESPACE:NAME"));
    }
}
