{{/* Whether pods are looked at. Where YAML takes a bare `off` for false, it is meant all the same. */}}
{{- define "outrigger.repairs" -}}
{{ not (has .Values.repair.mode (list "off" false)) }}
{{- end }}

{{- define "outrigger.repair.arguments" -}}
{{- with .Values.repair -}}
- --repair={{ .mode }}
- --repair-interval={{ .interval }}
- --repair-minimum-age={{ .minimumAge }}
- --repair-evictions-per-minute={{ int .evictionsPerMinute }}
{{- with .namespaces }}
- {{ printf "--repair-namespaces=%s" (join "," .) | quote }}
{{- end }}
{{- if .outdated }}
- --repair-outdated
{{- end }}
{{- end }}
{{- if eq .Values.webhooks.failurePolicy "Fail" }}
{{- /* The webhook's own selector leaves them out, too. */}}
- {{ printf "--repair-excluded-namespaces=kube-system,%s" .Release.Namespace | quote }}
{{- end }}
{{- end }}

{{/* What repair may do about the pods that it looks at. */}}
{{- define "outrigger.repair.rules" -}}
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list]
{{- if eq .Values.repair.mode "evict" }}
- apiGroups: [""]
  resources: [pods/eviction]
  verbs: [create]
{{- end }}
{{ include "outrigger.eventsRules" . }}
{{- end }}

{{/* The same in one namespace; takes root, role and namespace. */}}
{{- define "outrigger.repair.rights" -}}
{{- range $kind := list "Role" "RoleBinding" }}
{{- if eq $kind "RoleBinding" }}
---
{{- end }}
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ $kind }}
metadata:
  name: outrigger-repair
  namespace: {{ $.namespace | quote }}
  labels:
    {{- include "outrigger.labels" $.root | nindent 4 }}
    app.kubernetes.io/component: controllers
{{- if eq $kind "Role" }}
rules:
  {{- include "outrigger.repair.rules" $.root | nindent 2 }}
{{- else }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: outrigger-repair
subjects:
  - {{ include "outrigger.role.subject" $.role | indent 4 | trim }}
{{- end }}
{{- end }}
{{- end }}
