{{/* Wrong combinations, which the schema can't name, and values that would become structure of pgbouncer.ini. Takes an instance. */}}
{{- define "pgbouncer.check" -}}
{{- $values := .values -}}
{{- $at := printf "instances.%s" .name -}}
{{- if gt (len .fullname) 52 -}}
{{- fail (printf "%s: the name %q is longer than 52 characters, and there are names that add to it: shorten it, or fullnameOverride" $at .fullname) -}}
{{- end -}}
{{- if not $values.databases -}}
{{- fail (printf "%s.databases is empty: name a database and its host, such as {\"*\": {host: postgres}}" $at) -}}
{{- end -}}
{{- range $name, $options := $values.databases -}}
{{- if eq $name "pgbouncer" -}}
{{- fail (printf "%s.databases.pgbouncer: that is the name of PgBouncer's own console: choose another" $at) -}}
{{- end -}}
{{- range $option, $value := $options -}}
{{- include "pgbouncer.checkQuoted" (dict "at" (printf "%s.databases.%s.%s" $at $name $option) "value" $value) -}}
{{- end -}}
{{- end -}}
{{- range $name, $options := $values.users -}}
{{- range $option, $value := $options -}}
{{- include "pgbouncer.checkQuoted" (dict "at" (printf "%s.users.%s.%s" $at $name $option) "value" $value) -}}
{{- end -}}
{{- end -}}
{{- $ours := dict
  "listen_addr" "it listens on all addresses of its pod"
  "listen_port" "set port"
  "unix_socket_dir" "the agent needs it where it is"
  "auth_type" "set authType"
  "auth_file" "the agent keeps it"
  "admin_users" "set adminUser"
  "stats_users" "set tests.user"
  "client_tls_sslmode" "set tls.client"
  "client_tls_cert_file" "set tls.client"
  "client_tls_key_file" "set tls.client"
  "client_tls_ca_file" "set tls.client"
  "server_tls_sslmode" "set tls.server"
  "server_tls_cert_file" "set tls.server"
  "server_tls_key_file" "set tls.server"
  "server_tls_ca_file" "set tls.server"
  "logfile" "it logs to its container's output"
  "pidfile" "the container is its process"
  "user" "set podSecurityContext.runAsUser"
-}}
{{- range $key, $value := $values.config -}}
{{- with get $ours $key -}}
{{- fail (printf "%s.config.%s is written by the chart: %s" $at $key .) -}}
{{- end -}}
{{- if regexMatch "[[:cntrl:]]" (toString $value) -}}
{{- fail (printf "%s.config.%s holds a line break or another control character, which would be another line of pgbouncer.ini: take it out" $at $key) -}}
{{- end -}}
{{- end -}}
{{- if and $values.serverConnections (hasKey $values.config "max_db_connections") -}}
{{- fail (printf "%s.config.max_db_connections is the share of one pod, which serverConnections sets: leave out one of them" $at) -}}
{{- end -}}
{{- if and $values.serverConnections (lt (int $values.serverConnections) (int .pods)) -}}
{{- fail (printf "%s.serverConnections is %d, and there can be %d pods: each needs one or more" $at (int $values.serverConnections) (int .pods)) -}}
{{- end -}}
{{- if and .usesOperator (not $values.userList.matchLabels) -}}
{{- fail (printf "%s.userList.matchLabels is empty: name the labels of the Secrets that hold the users, or the Secret with the whole list in existingUserlistSecret" $at) -}}
{{- end -}}
{{- if and .adminSecret (eq .adminSecret .userlistSecret) -}}
{{- fail (printf "%s.existingAdminSecret is the Secret of the list, too: the administrator's password and the list need a Secret each" $at) -}}
{{- end -}}
{{- $client := $values.tls.client -}}
{{- if and (ne $client.mode "disable") (not $client.secretName) -}}
{{- fail (printf "%s.tls.client.mode is %s, which needs tls.client.secretName: the Secret with tls.crt and tls.key" $at $client.mode) -}}
{{- end -}}
{{- if and (hasPrefix "verify-" $client.mode) (not $client.hasAuthority) -}}
{{- fail (printf "%s.tls.client.mode is %s, which needs a ca.crt in that Secret: add it, and set tls.client.hasAuthority" $at $client.mode) -}}
{{- end -}}
{{- $server := $values.tls.server -}}
{{- if and (hasPrefix "verify-" $server.mode) (not $server.secretName) -}}
{{- fail (printf "%s.tls.server.mode is %s, which needs tls.server.secretName: the Secret with the ca.crt that signed the server's certificate" $at $server.mode) -}}
{{- end -}}
{{- if and (eq $values.termination.stopSignal "SIGTERM") (not $values.termination.command) (ne (include "pgbouncer.isAtLeast" (dict "instance" . "version" "1.23")) "true") -}}
{{- fail (printf "%s.termination: PgBouncer %s drops all transactions at SIGTERM: use an image that is ended by SIGINT, or set termination.command: [sh, -c, \"sleep 5; kill -INT 1\"]" $at $values.version) -}}
{{- end -}}
{{- if and $values.autoscaling.enabled (gt (int $values.autoscaling.minReplicas) (int $values.autoscaling.maxReplicas)) -}}
{{- fail (printf "%s.autoscaling: minReplicas is %d and maxReplicas is %d" $at (int $values.autoscaling.minReplicas) (int $values.autoscaling.maxReplicas)) -}}
{{- end -}}
{{- if and $values.autoscaling.enabled (eq $values.autoscaling.metric "waiting-clients") (not $values.exporter.enabled) -}}
{{- fail (printf "%s.autoscaling.metric is waiting-clients, which the exporter counts: set exporter.enabled" $at) -}}
{{- end -}}
{{- if and $values.autoscaling.enabled (eq $values.autoscaling.metric "cpu") (not (dig "requests" "cpu" "" $values.resources)) -}}
{{- fail (printf "%s.autoscaling.metric is cpu, of which a percentage of resources.requests.cpu is aimed at: set that" $at) -}}
{{- end -}}
{{- $ports := dict -}}
{{- range $name, $port := dict "port" $values.port "exporter.port" $values.exporter.port "agent.port" .root.Values.agent.port -}}
{{- $text := toString (int $port) -}}
{{- if hasKey $ports $text -}}
{{- fail (printf "%s: %s and %s are both %s: choose two" $at (get $ports $text) $name $text) -}}
{{- end -}}
{{- $_ := set $ports $text $name -}}
{{- end -}}
{{- $own := include "pgbouncer.labels" . | fromYaml -}}
{{- range $label := keys $values.podLabels -}}
{{- if hasKey $own $label -}}
{{- fail (printf "%s.podLabels has %s, which is the chart's own: choose another name" $at $label) -}}
{{- end -}}
{{- end -}}
{{- if eq $values.adminUser (include "pgbouncer.testUser" .) -}}
{{- fail (printf "%s.adminUser is %s, which is the user of its tests: choose another" $at $values.adminUser) -}}
{{- end -}}
{{- end }}

{{/* Refuses what can't stand between the quotes of a connection string. Takes at and value. */}}
{{- define "pgbouncer.checkQuoted" -}}
{{- if regexMatch "[[:cntrl:]'\\\\]" (toString .value) -}}
{{- fail (printf "%s holds a quote, a backslash or a control character, which would end the value in pgbouncer.ini: take it out" .at) -}}
{{- end -}}
{{- end }}
