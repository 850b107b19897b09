//! The objects of a profile: a policy that adds, one that refuses, and a binding for each.

use serde_json::{Map, Value, json};

use super::{
    Target,
    cel::Cel,
    conditions::{Condition, Requirement},
    variables::Variable,
};

/// What the objects say.
pub(super) struct Content {
    /// Which pods they are about.
    pub(super) scope: Vec<Condition>,
    /// What these must be like.
    pub(super) requirements: Vec<Requirement>,
    /// What the requirements use.
    pub(super) common: Vec<Variable>,
    /// What the patch uses beside that.
    pub(super) variables: Vec<Variable>,
    /// What is added.
    pub(super) patch: Cel,
}

impl Content {
    /// All objects, in an order that is right both for `kubectl apply` and for `kubectl delete`: pods are refused only while they are
    /// also given sidecars. A binding without its policy does nothing, nor does a policy without its binding.
    pub(super) fn manifests(&self, target: &Target<'_>) -> Vec<Value> {
        let mutating = format!("admissionregistration.k8s.io/{}", target.version.as_str());
        let validating = "admissionregistration.k8s.io/v1";
        let object = |version: &str, kind: &str, spec: Value| {
            let metadata = json!({"name": target.name, "labels": {"app.kubernetes.io/name": "outrigger"}});
            json!({"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec})
        };
        vec![
            object(validating, "ValidatingAdmissionPolicyBinding", refusing(binding(target)).into()),
            object(&mutating, "MutatingAdmissionPolicy", self.mutating()),
            object(&mutating, "MutatingAdmissionPolicyBinding", binding(target).into()),
            object(validating, "ValidatingAdmissionPolicy", self.validating()),
        ]
    }

    /// Adds the sidecars to pods that can have them.
    fn mutating(&self) -> Value {
        let all = self.requirements.iter().map(|requirement| Cel::code(format!("({})", requirement.expression)));
        let meets_requirements = Variable { name: "meetsRequirements", expression: Cel::join(all, "\n&& ") };
        let variables = self.common.iter().chain([&meets_requirements]).chain(&self.variables);
        let patch = format!("!variables.meetsRequirements ? [] :\n{}", self.patch);
        json!({
            "matchConstraints": new_pods(),
            "matchConditions": self.match_conditions(),
            "variables": variables.map(Variable::to_json).collect::<Vec<_>>(),
            "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": patch}}],
            // The API server evaluates it alone: only a pod that asks, and for which that is impossible, can fail.
            "failurePolicy": "Fail",
            // A pod that has its record is left as it is.
            "reinvocationPolicy": "Never",
        })
    }

    /// Refuses pods that have been given nothing.
    fn validating(&self) -> Value {
        let validation = |expression: String, sentence: &str| json!({"expression": expression, "message": sentence});
        let requirements =
            self.requirements.iter().map(|requirement| validation(requirement.expression.to_string(), &requirement.sentence));
        let not_mutated = "the policy that adds the sidecars has not seen the pod: see that it is there and bound";
        json!({
            "matchConstraints": new_pods(),
            "matchConditions": self.match_conditions(),
            "variables": self.common.iter().map(Variable::to_json).collect::<Vec<_>>(),
            "validations": requirements.chain([validation("false".to_owned(), not_mutated)]).collect::<Vec<_>>(),
            "failurePolicy": "Fail",
        })
    }

    fn match_conditions(&self) -> Vec<Value> {
        let condition = |condition: &Condition| json!({"name": condition.name, "expression": condition.expression.to_string()});
        self.scope.iter().map(condition).collect()
    }

    /// All expressions, each with what it is.
    pub(super) fn named_expressions(&self) -> impl Iterator<Item = (&str, &Cel)> {
        let scope = self.scope.iter().map(|condition| (condition.name, &condition.expression));
        let requirements = self.requirements.iter().map(|requirement| ("a requirement", &requirement.expression));
        let variables = self.variables.iter().map(|variable| (variable.name, &variable.expression));
        scope.chain(requirements).chain(variables).chain([("the patch", &self.patch)])
    }
}

impl Variable {
    fn to_json(&self) -> Value {
        json!({"name": self.name, "expression": self.expression.to_string()})
    }
}

/// New pods. Sidecars can't be added to one that is there.
fn new_pods() -> Value {
    json!({"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"]}]})
}

/// Where the policies hold.
fn binding(target: &Target<'_>) -> Map<String, Value> {
    let mut spec = Map::from_iter([("policyName".to_owned(), json!(target.name))]);
    if !target.namespace_labels.is_empty() {
        spec.insert("matchResources".to_owned(), json!({"namespaceSelector": {"matchLabels": target.namespace_labels}}));
    }
    spec
}

fn refusing(mut binding: Map<String, Value>) -> Map<String, Value> {
    binding.insert("validationActions".to_owned(), json!(["Deny"]));
    binding
}
