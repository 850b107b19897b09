{{/* Who the pods are, what they may read, and who may reach them. Each takes an instance. */}}
{{- define "pgbouncer.account" -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  {{- include "pgbouncer.metadata" . | nindent 2 }}
  {{- with .values.serviceAccountAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
# The agent alone is given the token.
automountServiceAccountToken: false
{{- if .root.Values.agent.enabled }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  {{- include "pgbouncer.metadata" . | nindent 2 }}
rules:
  - apiGroups: [""]
    resources: [secrets]
    resourceNames:
      {{- include "pgbouncer.secrets" . | nindent 6 }}
    verbs: [get, list, watch]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  {{- include "pgbouncer.metadata" . | nindent 2 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: {{ .fullname }}
subjects:
  - kind: ServiceAccount
    name: {{ .fullname }}
    namespace: {{ .root.Release.Namespace | quote }}
{{- end }}
{{- end }}

{{/* What the operator is asked for. */}}
{{- define "pgbouncer.userList" -}}
apiVersion: outrigger.dev/v1alpha1
kind: UserList
metadata:
  {{- include "pgbouncer.metadata" . | nindent 2 }}
spec:
  selector:
    matchLabels:
      {{- toYaml .values.userList.matchLabels | nindent 6 }}
  {{- with .values.userList.namespaces }}
  namespaces:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  keys:
    username:
      {{- toYaml .values.userList.usernameKeys | nindent 6 }}
    password:
      {{- toYaml .values.userList.passwordKeys | nindent 6 }}
  output:
    name: {{ .userlistSecret }}
    key: {{ .values.userlistKey | quote }}
  admin:
    user: {{ .values.adminUser | quote }}
    port: {{ .values.port }}
    {{- if not .values.existingAdminSecret }}
    secret:
      name: {{ .adminSecret }}
    {{- end }}
  # Who may read statistics about everybody.
  reservedUsers: [{{ include "pgbouncer.testUser" . | quote }}]
  minimumUsers: {{ .values.userList.minimumUsers }}
  authType: {{ .values.authType }}
  storedForm: {{ .values.userList.storedForm }}
  {{- with include "pgbouncer.forcedUsers" . | fromYamlArray }}
  forcedUsers:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  poolers:
    - kind: Deployment
      name: {{ .fullname }}
{{- end }}

{{/* As whom PgBouncer signs in to servers by itself. */}}
{{- define "pgbouncer.forcedUsers" -}}
{{- $users := list (get .values.config "auth_user") -}}
{{- range .values.databases -}}
{{- $users = concat $users (list (get . "user") (get . "auth_user")) -}}
{{- end -}}
{{- without $users "" | uniq | sortAlpha | toYaml -}}
{{- end }}

{{- define "pgbouncer.service" -}}
apiVersion: v1
kind: Service
metadata:
  {{- include "pgbouncer.metadata" . | nindent 2 }}
  {{- with .values.service.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  type: {{ .values.service.type }}
  sessionAffinity: {{ .values.service.sessionAffinity }}
  selector:
    {{- include "pgbouncer.selector" . | nindent 4 }}
  ports:
    - {name: pgbouncer, port: {{ .values.service.port }}, targetPort: pgbouncer, protocol: TCP}
{{- end }}

{{/* The operator's pods, as peers of a NetworkPolicy. */}}
{{- define "pgbouncer.operators" -}}
{{- $controllers := dict "app.kubernetes.io/name" "outrigger" "app.kubernetes.io/component" "controllers" -}}
{{- $peer := dict "namespaceSelector" dict "podSelector" (dict "matchLabels" $controllers) -}}
{{- .values.networkPolicy.operatorFrom | default (list $peer) | toYaml -}}
{{- end }}

{{- define "pgbouncer.networkPolicy" -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  {{- include "pgbouncer.metadata" . | nindent 2 }}
spec:
  podSelector:
    matchLabels:
      {{- include "pgbouncer.selector" . | nindent 6 }}
  policyTypes: [Ingress, Egress]
  ingress:
    - ports:
        - {port: pgbouncer, protocol: TCP}
      from:
        {{- .values.networkPolicy.clients | default (list (dict "podSelector" dict)) | toYaml | nindent 8 }}
        {{- if and .values.networkPolicy.clients (not (hasPrefix "verify-" .values.tls.client.mode)) }}
        # The pods of `helm test`.
        - podSelector:
            matchLabels:
              {{- include "pgbouncer.releaseSelector" .root | nindent 14 }}
              app.kubernetes.io/component: test
        {{- end }}
    {{- if .values.exporter.enabled }}
    - ports:
        - {port: metrics, protocol: TCP}
      {{- with .values.networkPolicy.metricsFrom }}
      from:
        {{- toYaml . | nindent 8 }}
      {{- end }}
    {{- end }}
    {{- if .root.Values.agent.enabled }}
    - ports:
        - {port: {{ .root.Values.agent.port }}, protocol: TCP}
      from:
        {{- with .values.networkPolicy.metricsFrom }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
        {{- include "pgbouncer.operators" . | nindent 8 }}
    {{- end }}
    {{- if .usesOperator }}
    # Its console: sessions of removed users are ended there.
    - ports:
        - {port: pgbouncer, protocol: TCP}
      from:
        {{- include "pgbouncer.operators" . | nindent 8 }}
    {{- end }}
  # Where the API server is, no rule can say for every cluster.
  egress:
    {{- .values.networkPolicy.egress | default (list dict) | toYaml | nindent 4 }}
{{- end }}
