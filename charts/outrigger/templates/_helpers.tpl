{{/* Labels of every object. */}}
{{- define "outrigger.labels" -}}
app.kubernetes.io/name: outrigger
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{/* The version of all images. */}}
{{- define "outrigger.tag" -}}
{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{/* The program's image. */}}
{{- define "outrigger.image" -}}
{{ .Values.image.registry }}/outrigger{{ with .Values.image.digest }}@{{ . }}{{ else }}:{{ include "outrigger.tag" . }}{{ end }}
{{- end }}

{{/* The name the API server calls, and the certificate is for. */}}
{{- define "outrigger.serverName" -}}
outrigger-admission.{{ .Release.Namespace }}.svc
{{- end }}

{{/* The Secret with the certificate's files, where the program doesn't make it itself. */}}
{{- define "outrigger.certificateSecret" -}}
{{ if eq .Values.certificates.mode "files" }}{{ .Values.certificates.secretName }}{{ else }}outrigger-admission-tls{{ end }}
{{- end }}

{{/* The program's settings for injection, as --values reads them. */}}
{{- define "outrigger.settings" -}}
{{- $own := include "outrigger.image" . -}}
{{- $desktop := printf "%s/outrigger-desktop:%s" .Values.image.registry (include "outrigger.tag" .) -}}
{{- $injection := deepCopy .Values.injection -}}
{{- range $sidecar, $image := dict "vnc" $desktop "fileSync" $own "guacamole" $own -}}
{{- $settings := get $injection $sidecar -}}
{{- $_ := set $settings "image" ($settings.image | default $image) -}}
{{- range $name, $amount := $settings.resources -}}
{{- $_ := set $settings.resources $name (toString $amount) -}}
{{- end -}}
{{- end -}}
{{ dict "injection" $injection | toYaml }}
{{- end }}

{{/* Both roles know what namespaces give their pods. */}}
{{- define "outrigger.namespacesRule" -}}
apiGroups: [""]
resources: [namespaces]
verbs: [get, list, watch]
{{- end }}

{{/* Owners of pods are told by Events; a ReplicaSet's and a Job's own owner is found first. */}}
{{- define "outrigger.eventsRules" -}}
- apiGroups: [""]
  resources: [events]
  verbs: [create, patch]
- apiGroups: [apps]
  resources: [replicasets]
  verbs: [get]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get]
{{- end }}

{{/* Refuses what is no duration, or a shorter one than the program or cert-manager takes; takes name, value and least, in seconds. */}}
{{- define "outrigger.checkDuration" -}}
{{- if not (regexMatch "^([0-9]+(h|m|s))+$" .value) -}}
{{- fail (printf "%s is %q: a duration is numbers with units h, m or s, such as 168h or 1h30m" .name .value) -}}
{{- end -}}
{{- $start := now -}}
{{- if lt (sub (dateModify .value $start | unixEpoch) (unixEpoch $start)) (int64 .least) -}}
{{- fail (printf "%s is %q: it must be %ds or longer" .name .value (int .least)) -}}
{{- end -}}
{{- end }}

{{/* Wrong combinations, which the schema can't name. */}}
{{- define "outrigger.check" -}}
{{- if and .Values.admission.hostNetwork (eq (int .Values.admission.httpsPort) 10250) -}}
{{- fail "admission.hostNetwork: the kubelet has port 10250 of each node: set admission.httpsPort to a free one, such as 10260" -}}
{{- end -}}
{{- if eq (int .Values.admission.httpsPort) (int .Values.admission.statusPort) -}}
{{- fail (printf "admission.httpsPort and admission.statusPort are both %d: choose two" (int .Values.admission.httpsPort)) -}}
{{- end -}}
{{- $own := merge (dict "app.kubernetes.io/component" "") (include "outrigger.labels" . | fromYaml) -}}
{{- range $role := list "admission" "controllers" -}}
{{- range $label := keys (index $.Values $role).podLabels -}}
{{- if hasKey $own $label -}}
{{- fail (printf "%s.podLabels has %s, which is the chart's own: choose another name" $role $label) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $least := ternary 3600 10 (eq .Values.certificates.mode "cert-manager") -}}
{{- range $name := list "caLifetime" "leafLifetime" -}}
{{- include "outrigger.checkDuration" (dict "name" (printf "certificates.%s" $name) "value" (get $.Values.certificates $name) "least" $least) -}}
{{- end -}}
{{- range $name, $least := dict "interval" 1 "minimumAge" 0 -}}
{{- include "outrigger.checkDuration" (dict "name" (printf "repair.%s" $name) "value" (get $.Values.repair $name) "least" $least) -}}
{{- end -}}
{{- range $name, $least := dict "interval" 1 "patience" 0 -}}
{{- include "outrigger.checkDuration" (dict "name" (printf "databases.%s" $name) "value" (get $.Values.databases $name) "least" $least) -}}
{{- end -}}
{{- if and .Values.image.digest (not (regexMatch "^sha256:[0-9a-f]{64}$" .Values.image.digest)) -}}
{{- fail (printf "image.digest is %q: it must be sha256: and 64 hexadecimal digits" .Values.image.digest) -}}
{{- end -}}
{{- if and (ne .Values.certificates.mode "files") (or .Values.certificates.secretName .Values.certificates.caBundle) -}}
{{- fail (printf "certificates.secretName and certificates.caBundle are for certificates.mode files, and the mode is %s: set it, or leave them empty" .Values.certificates.mode) -}}
{{- end -}}
{{- if contains "PRIVATE KEY" .Values.certificates.caBundle -}}
{{- fail "certificates.caBundle holds a private key, and everybody who may read the webhook configurations would have it: give the CA's certificate alone" -}}
{{- end -}}
{{- if eq .Values.certificates.mode "files" -}}
{{- if not .Values.certificates.secretName -}}
{{- fail "certificates.mode is files, which needs certificates.secretName: the name of a Secret of type kubernetes.io/tls" -}}
{{- end -}}
{{- if not (contains "-----BEGIN CERTIFICATE-----" .Values.certificates.caBundle) -}}
{{- fail "certificates.mode is files, which needs certificates.caBundle: the CA's certificate in PEM, for instance with --set-file certificates.caBundle=ca.crt" -}}
{{- end -}}
{{- end -}}
{{- end }}
