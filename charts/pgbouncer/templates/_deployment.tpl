{{/* The pods of an instance: PgBouncer, the agent that holds it back until there is a list of users, and the exporter. */}}
{{- define "pgbouncer.deployment" -}}
{{- $values := .values -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  {{- include "pgbouncer.metadata" . | nindent 2 }}
spec:
  {{- if not $values.autoscaling.enabled }}
  replicas: {{ $values.replicas }}
  {{- end }}
  selector:
    matchLabels:
      {{- include "pgbouncer.selector" . | nindent 6 }}
  strategy:
    {{- if and $values.serverConnections (gt (int .pods) 1) }}
    # A pod more would be a share of the server's connections more.
    rollingUpdate: {maxSurge: 0, maxUnavailable: 1}
    {{- else }}
    rollingUpdate: {maxSurge: 1, maxUnavailable: 0}
    {{- end }}
  template:
    metadata:
      labels:
        {{- include "pgbouncer.selector" . | nindent 8 }}
        {{- with $values.podLabels }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      annotations:
        # Most settings are read at the start alone. The list of users is not among them: it changes without a restart.
        checksum/config: {{ include "pgbouncer.ini" . | sha256sum }}
        {{- if .root.Values.agent.enabled }}
        outrigger.dev/userlist-agent: {{ .root.Values.agent.port | quote }}
        {{- end }}
        {{- with $values.podAnnotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    spec:
      serviceAccountName: {{ .fullname }}
      automountServiceAccountToken: false
      enableServiceLinks: false
      {{- with .root.Values.image.pullSecrets }}
      imagePullSecrets:
        {{- range . }}
        - name: {{ . | quote }}
        {{- end }}
      {{- end }}
      {{- with $values.priorityClassName }}
      priorityClassName: {{ . | quote }}
      {{- end }}
      terminationGracePeriodSeconds: {{ add $values.termination.drainSeconds $values.termination.graceSeconds }}
      {{- with $values.podSecurityContext }}
      securityContext:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- if .root.Values.agent.enabled }}
      initContainers:
        {{- include "pgbouncer.agent" . | nindent 8 }}
      {{- end }}
      containers:
        {{- include "pgbouncer.pooler" . | nindent 8 }}
        {{- if $values.exporter.enabled }}
        {{- include "pgbouncer.exporter" . | nindent 8 }}
        {{- end }}
      volumes:
        - name: config
          configMap: {name: {{ .fullname }}}
        - name: socket
          emptyDir: {medium: Memory, sizeLimit: 1Mi}
        {{- if not .root.Values.agent.enabled }}
        # The kubelet keeps the same files, under the same names, and holds the pod back until they are there.
        - name: userlist
          projected:
            defaultMode: 0440
            sources:
              {{- include "pgbouncer.mounted" . | nindent 14 }}
        {{- else }}
        # Passwords stay in memory.
        - name: userlist
          emptyDir: {medium: Memory, sizeLimit: 8Mi}
        - name: token
          projected:
            sources:
              - serviceAccountToken: {path: token, expirationSeconds: 3607}
              - configMap: {name: kube-root-ca.crt, items: [{key: ca.crt, path: ca.crt}]}
              - downwardAPI: {items: [{path: namespace, fieldRef: {fieldPath: metadata.namespace}}]}
        {{- end }}
      {{- include "pgbouncer.placement" . | nindent 6 }}
{{- end }}

{{/* The keys that PgBouncer reads of the Secrets, as sources of a projected volume. */}}
{{- define "pgbouncer.mounted" -}}
{{- $wanted := list (list .userlistSecret .values.userlistKey) -}}
{{- $client := .values.tls.client -}}
{{- if $client.secretName -}}
{{- $wanted = concat $wanted (list (list $client.secretName "tls.crt") (list $client.secretName "tls.key")) -}}
{{- if $client.hasAuthority -}}
{{- $wanted = append $wanted (list $client.secretName "ca.crt") -}}
{{- end -}}
{{- end -}}
{{- $server := .values.tls.server -}}
{{- if $server.secretName -}}
{{- $wanted = append $wanted (list $server.secretName "ca.crt") -}}
{{- if $server.hasCertificate -}}
{{- $wanted = concat $wanted (list (list $server.secretName "tls.crt") (list $server.secretName "tls.key")) -}}
{{- end -}}
{{- end -}}
{{- range $wanted | uniq }}
- secret:
    name: {{ first . }}
    items: [{key: {{ last . | quote }}, path: {{ include "pgbouncer.file" (dict "instance" $ "secret" (first .) "key" (last .)) | quote }}}]
{{- end }}
{{- end }}

{{/* A native sidecar: the startup probe holds PgBouncer back until there is a list that it can read, and the agent ends after it. */}}
{{- define "pgbouncer.agent" -}}
{{- $list := include "pgbouncer.file" (dict "instance" . "secret" .userlistSecret "key" .values.userlistKey) -}}
- name: agent
  image: {{ .root.Values.agent.image | quote }}
  imagePullPolicy: {{ .root.Values.image.pullPolicy }}
  restartPolicy: Always
  args: [file-sync]
  env:
    - {name: FOLDER, value: /run/userlist}
    - {name: RESOURCE, value: secret}
    - {name: RESOURCE_NAME, value: {{ include "pgbouncer.secrets" . | fromYamlArray | join "," | quote }}}
    - {name: NAMESPACE, value: OWN}
    - {name: UNIQUE_FILENAMES, value: "true"}
    - {name: URL_KEYS, value: ignore}
    - {name: PGBOUNCER_AUTH_FILE, value: {{ $list }}}
    - {name: APPLIED_ANNOTATION, value: outrigger.dev/userlist-digest}
    - {name: PGBOUNCER_HOST, value: /run/pgbouncer}
    - {name: PGBOUNCER_PORT, value: {{ .values.port | quote }}}
    # It has the pod's user, whom the socket lets in without a password.
    - {name: PGBOUNCER_USERNAME, value: pgbouncer}
    - {name: REQ_RETRY_BACKOFF_FACTOR, value: 200ms}
    - {name: HEALTH_PORT, value: {{ .root.Values.agent.port | quote }}}
    - {name: LOG_FORMAT, value: json}
  ports:
    - {name: agent, containerPort: {{ .root.Values.agent.port }}, protocol: TCP}
  startupProbe:
    # What a program prints becomes an Event of the pod: it says what is missing.
    exec: {command: [outrigger, file-sync, probe]}
    periodSeconds: 2
    timeoutSeconds: 5
    # A list may take its time.
    failureThreshold: 43200
  livenessProbe:
    httpGet: {path: /livez, port: agent}
    periodSeconds: 10
    timeoutSeconds: 5
    failureThreshold: 3
  resources:
    {{- toYaml .root.Values.agent.resources | nindent 4 }}
  {{- with .values.securityContext }}
  securityContext:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  volumeMounts:
    - {name: userlist, mountPath: /run/userlist}
    - {name: socket, mountPath: /run/pgbouncer, readOnly: true}
    - {name: token, mountPath: /var/run/secrets/kubernetes.io/serviceaccount, readOnly: true}
{{- end }}

{{- define "pgbouncer.pooler" -}}
- name: pgbouncer
  image: {{ include "pgbouncer.image" . | quote }}
  imagePullPolicy: {{ .root.Values.image.pullPolicy }}
  command: [pgbouncer]
  args: [/etc/pgbouncer/pgbouncer.ini]
  ports:
    - {name: pgbouncer, containerPort: {{ .values.port }}, protocol: TCP}
  readinessProbe:
    tcpSocket: {port: pgbouncer}
    {{- toYaml .values.readinessProbe | nindent 4 }}
  livenessProbe:
    tcpSocket: {port: pgbouncer}
    {{- toYaml .values.livenessProbe | nindent 4 }}
  {{- if .values.termination.command }}
  lifecycle:
    preStop:
      exec:
        command:
          {{- toYaml .values.termination.command | nindent 10 }}
  {{- else if .values.termination.drainSeconds }}
  lifecycle:
    preStop:
      sleep: {seconds: {{ .values.termination.drainSeconds }}}
  {{- end }}
  resources:
    {{- toYaml .values.resources | nindent 4 }}
  {{- with .values.securityContext }}
  securityContext:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  # Folders, never single files: those would stay as they are when their source changes.
  volumeMounts:
    - {name: config, mountPath: /etc/pgbouncer, readOnly: true}
    - {name: userlist, mountPath: /run/userlist, readOnly: true}
    - {name: socket, mountPath: /run/pgbouncer}
{{- end }}

{{- define "pgbouncer.exporter" -}}
- name: exporter
  image: {{ .values.exporter.image | quote }}
  imagePullPolicy: {{ .root.Values.image.pullPolicy }}
  args:
    - --web.listen-address=:{{ .values.exporter.port }}
    - --log.level={{ .values.exporter.logLevel }}
    # No password, so none that could be out of date.
    - --pgBouncer.connectionString=postgres:///pgbouncer?host=/run/pgbouncer&port={{ .values.port }}&user=pgbouncer&sslmode=disable
  ports:
    - {name: metrics, containerPort: {{ .values.exporter.port }}, protocol: TCP}
  resources:
    {{- toYaml .values.exporter.resources | nindent 4 }}
  {{- with .values.securityContext }}
  securityContext:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  volumeMounts:
    - {name: socket, mountPath: /run/pgbouncer, readOnly: true}
{{- end }}

{{/* Where the pods run. */}}
{{- define "pgbouncer.placement" -}}
{{- $affinity := deepCopy .values.affinity -}}
{{- if eq .values.spread "required" -}}
{{- $term := dict "topologyKey" "kubernetes.io/hostname" "labelSelector" (dict "matchLabels" (include "pgbouncer.selector" . | fromYaml)) -}}
{{- $mine := dict "podAntiAffinity" (dict "requiredDuringSchedulingIgnoredDuringExecution" (list $term)) -}}
{{- $affinity = merge $affinity $mine -}}
{{- end -}}
{{- if ne .values.spread "none" }}
topologySpreadConstraints:
  {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - topologyKey: {{ . }}
    maxSkew: 1
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "pgbouncer.selector" $ | nindent 8 }}
    matchLabelKeys: [pod-template-hash]
  {{- end }}
{{- end }}
nodeSelector:
  {{- merge (dict "kubernetes.io/os" "linux") .values.nodeSelector | toYaml | nindent 2 }}
{{- with .values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
