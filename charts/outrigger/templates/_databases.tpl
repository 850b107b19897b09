{{- define "outrigger.databases.arguments" -}}
{{- with .Values.databases -}}
- --databases
- --databases-interval={{ .interval }}
- --databases-patience={{ .patience }}
{{- end }}
{{- end }}

{{/* What the controllers may do about PgServers and PgDatabases, and what tells one cluster from another. */}}
{{- define "outrigger.databases.rules" -}}
- apiGroups: [outrigger.dev]
  resources: [pgservers]
  verbs: [get, list, watch]
- apiGroups: [outrigger.dev]
  resources: [pgdatabases]
  verbs: [get, list, watch, patch]
- apiGroups: [outrigger.dev]
  resources: [pgdatabases/status, pgservers/status]
  verbs: [patch]
- apiGroups: [""]
  resources: [namespaces]
  resourceNames: [kube-system]
  verbs: [get]
- apiGroups: [""]
  resources: [events]
  verbs: [create, patch]
{{- end }}

{{/* Connection Secrets are read by name, and written. */}}
{{- define "outrigger.databases.secretsRule" -}}
apiGroups: [""]
resources: [secrets]
verbs: [get, create, patch]
{{- end }}

{{/* The same in one namespace; takes root, role and namespace. */}}
{{- define "outrigger.databases.rights" -}}
{{- range $kind := list "Role" "RoleBinding" }}
{{- if eq $kind "RoleBinding" }}
---
{{- end }}
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ $kind }}
metadata:
  name: outrigger-databases
  namespace: {{ $.namespace | quote }}
  labels:
    {{- include "outrigger.labels" $.root | nindent 4 }}
    app.kubernetes.io/component: controllers
{{- if eq $kind "Role" }}
rules:
  - {{ include "outrigger.databases.secretsRule" $.root | nindent 4 | trim }}
{{- else }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: outrigger-databases
subjects:
  - {{ include "outrigger.role.subject" $.role | indent 4 | trim }}
{{- end }}
{{- end }}
{{- end }}
