{{/* What names begin with. */}}
{{- define "pgbouncer.fullname" -}}
{{ .Values.fullnameOverride | default .Release.Name }}
{{- end }}

{{/*
The instances, as a list under `instances`: `name`, the settings under `values`, and what follows from them:

  root           the chart's own context
  fullname       the name of its objects
  pods           the most pods there can be
  userlistSecret the Secret with the list of users
  adminSecret    the Secret with the administrator's password; empty if there is none
*/}}
{{- define "pgbouncer.instances" -}}
{{- $instances := list -}}
{{- range $name, $own := .Values.instances -}}
{{- $values := mergeOverwrite (deepCopy $.Values.defaults) (deepCopy $own) -}}
{{- if $values.enabled -}}
{{- $fullname := printf "%s-%s" (include "pgbouncer.fullname" $) $name -}}
{{- $usesOperator := not $values.existingUserlistSecret -}}
{{- $instances = append $instances (dict
  "name" $name
  "values" $values
  "fullname" $fullname
  "pods" (ternary $values.autoscaling.maxReplicas $values.replicas $values.autoscaling.enabled | int)
  "usesOperator" $usesOperator
  "userlistSecret" ($values.existingUserlistSecret | default (printf "%s-userlist" $fullname))
  "adminSecret" ($values.existingAdminSecret | default (ternary (printf "%s-admin" $fullname) "" $usesOperator))
) -}}
{{- end -}}
{{- end -}}
{{ dict "instances" $instances | toYaml }}
{{- end }}

{{/* Labels by which the pods of all instances are found. */}}
{{- define "pgbouncer.releaseSelector" -}}
app.kubernetes.io/name: pgbouncer
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{/* Labels of objects of the whole release. */}}
{{- define "pgbouncer.releaseLabels" -}}
{{ include "pgbouncer.releaseSelector" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{/* Labels by which the pods of an instance are found. */}}
{{- define "pgbouncer.selector" -}}
{{ include "pgbouncer.releaseSelector" .root }}
app.kubernetes.io/component: {{ .name }}
{{- end }}

{{/* Labels of an instance's objects. */}}
{{- define "pgbouncer.labels" -}}
{{ include "pgbouncer.releaseLabels" .root }}
app.kubernetes.io/component: {{ .name }}
app.kubernetes.io/version: {{ .values.version | quote }}
{{- end }}

{{/* Name, namespace and labels of an instance's object. */}}
{{- define "pgbouncer.metadata" -}}
name: {{ .fullname }}
namespace: {{ .root.Release.Namespace | quote }}
labels:
  {{- include "pgbouncer.labels" . | nindent 2 }}
{{- end }}

{{/* The user of `helm test`: one for each instance, since instances may gather their users by the same labels. */}}
{{- define "pgbouncer.testUser" -}}
{{ .root.Values.tests.user }}-{{ .fullname }}
{{- end }}

{{/* PgBouncer's image. */}}
{{- define "pgbouncer.image" -}}
{{- $image := .root.Values.image -}}
{{ $image.repository }}{{ with $image.digest }}@{{ . }}{{ else }}:{{ $image.tag | default .values.version }}{{ end }}
{{- end }}

{{/* Where the agent keeps a key of a Secret: the name that `UNIQUE_FILENAMES` gives it. Takes instance, secret and key. */}}
{{- define "pgbouncer.file" -}}
{{- $file := printf "namespace_%s.secret_%s.%s" .instance.root.Release.Namespace .secret .key -}}
{{- if gt (len $file) 255 -}}
{{- fail (printf "instances.%s: the names of namespace %q, Secret %q and key %q are too long for a file's name: shorten one" .instance.name .instance.root.Release.Namespace .secret .key) -}}
{{- end -}}
{{ $file }}
{{- end }}

{{/* The Secrets that the agent keeps as files; the list of users first. */}}
{{- define "pgbouncer.secrets" -}}
{{- $secrets := list .userlistSecret -}}
{{- range list .values.tls.client .values.tls.server -}}
{{- if .secretName -}}
{{- $secrets = append $secrets .secretName -}}
{{- end -}}
{{- end -}}
{{ $secrets | uniq | toYaml }}
{{- end }}

{{/* A scalar as PgBouncer reads it: YAML's numbers without an exponent, and 1 and 0 for true and false. */}}
{{- define "pgbouncer.scalar" -}}
{{- if kindIs "bool" . -}}
{{ ternary "1" "0" . }}
{{- else if kindIs "float64" . -}}
{{ if eq . (floor .) }}{{ printf "%.0f" . }}{{ else }}{{ . }}{{ end }}
{{- else -}}
{{ . }}
{{- end -}}
{{- end }}

{{/* Whether an instance's version is this one or newer; takes instance and version. */}}
{{- define "pgbouncer.isAtLeast" -}}
{{ semverCompare (printf ">=%s.0-0" .version) (printf "%s" .instance.values.version) }}
{{- end }}
