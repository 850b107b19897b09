{{/* What the controllers may do about the kind itself. */}}
{{- define "outrigger.userLists.kindRules" -}}
- apiGroups: [outrigger.dev]
  resources: [userlists]
  verbs: [get, list, watch]
- apiGroups: [outrigger.dev]
  resources: [userlists/status]
  verbs: [patch]
{{- end }}

{{/* What they may do where user lists are, and where their Secrets come from. */}}
{{- define "outrigger.userLists.rules" -}}
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, list, watch, create, patch]
- apiGroups: [""]
  resources: [pods]
  verbs: [list]
- apiGroups: [apps]
  resources: [deployments, statefulsets, daemonsets]
  verbs: [get, list, patch]
- apiGroups: [""]
  resources: [events]
  verbs: [create, patch]
{{- end }}

{{/* The same in one namespace; takes root, role and namespace. */}}
{{- define "outrigger.userLists.rights" -}}
{{- range $kind := list "Role" "RoleBinding" }}
{{- if eq $kind "RoleBinding" }}
---
{{- end }}
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ $kind }}
metadata:
  name: outrigger-userlists
  namespace: {{ $.namespace | quote }}
  labels:
    {{- include "outrigger.labels" $.root | nindent 4 }}
    app.kubernetes.io/component: controllers
{{- if eq $kind "Role" }}
rules:
  {{- include "outrigger.userLists.rules" $.root | nindent 2 }}
{{- else }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: outrigger-userlists
subjects:
  - {{ include "outrigger.role.subject" $.role | indent 4 | trim }}
{{- end }}
{{- end }}
{{- end }}
