{{/* pgbouncer.ini. Takes an instance. Names have no character that needs a quote: the schema sees to that. */}}
{{- define "pgbouncer.ini" -}}
{{- $values := .values -}}
{{- $files := "/run/userlist" -}}
[databases]
{{- range $name, $options := $values.databases }}
{{ $name }} ={{ include "pgbouncer.options" $options }}
{{- end }}

[users]
{{- $users := deepCopy $values.users -}}
{{- $testUser := include "pgbouncer.testUser" . -}}
{{- if and (eq (include "pgbouncer.isAtLeast" (dict "instance" . "version" "1.24")) "true") (not (hasKey $users $testUser)) -}}
{{- $_ := set $users $testUser (dict "max_user_client_connections" .root.Values.tests.clients) -}}
{{- end -}}
{{- range $name, $options := $users }}
{{ $name }} ={{ include "pgbouncer.options" $options }}
{{- end }}

[pgbouncer]
listen_addr = *
listen_port = {{ int $values.port }}
unix_socket_dir = /run/pgbouncer
auth_type = {{ $values.authType }}
auth_file = {{ $files }}/{{ include "pgbouncer.file" (dict "instance" . "secret" .userlistSecret "key" $values.userlistKey) }}
admin_users = {{ $values.adminUser }}
stats_users = {{ $testUser }}
{{- $client := $values.tls.client }}
client_tls_sslmode = {{ $client.mode }}
{{- if $client.secretName }}
client_tls_cert_file = {{ $files }}/{{ include "pgbouncer.file" (dict "instance" . "secret" $client.secretName "key" "tls.crt") }}
client_tls_key_file = {{ $files }}/{{ include "pgbouncer.file" (dict "instance" . "secret" $client.secretName "key" "tls.key") }}
{{- if $client.hasAuthority }}
client_tls_ca_file = {{ $files }}/{{ include "pgbouncer.file" (dict "instance" . "secret" $client.secretName "key" "ca.crt") }}
{{- end }}
{{- end }}
{{- $server := $values.tls.server }}
server_tls_sslmode = {{ $server.mode }}
{{- if $server.secretName }}
server_tls_ca_file = {{ $files }}/{{ include "pgbouncer.file" (dict "instance" . "secret" $server.secretName "key" "ca.crt") }}
{{- if $server.hasCertificate }}
server_tls_cert_file = {{ $files }}/{{ include "pgbouncer.file" (dict "instance" . "secret" $server.secretName "key" "tls.crt") }}
server_tls_key_file = {{ $files }}/{{ include "pgbouncer.file" (dict "instance" . "secret" $server.secretName "key" "tls.key") }}
{{- end }}
{{- end }}
{{- if $values.serverConnections }}
max_db_connections = {{ div (int $values.serverConnections) (int .pods) }}
{{- end }}
{{- range $key, $value := $values.config }}
{{ $key }} = {{ include "pgbouncer.scalar" $value }}
{{- end }}
{{ end }}

{{/* Options of a connection string. */}}
{{- define "pgbouncer.options" -}}
{{- range $option, $value := . }} {{ $option }}='{{ include "pgbouncer.scalar" $value }}'{{ end -}}
{{- end }}

{{- define "pgbouncer.configuration" -}}
apiVersion: v1
kind: ConfigMap
metadata:
  {{- include "pgbouncer.metadata" . | nindent 2 }}
data:
  pgbouncer.ini: |
    {{- include "pgbouncer.ini" . | nindent 4 }}
{{- end }}
