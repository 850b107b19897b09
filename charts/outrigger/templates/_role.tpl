{{/*
What every role of the program has. Each takes a dict:

  root         the chart's own context
  name         the role, which is also its key in the values
  arguments    arguments of `outrigger serve` beside those that all roles have
  settings     whether it reads the settings of injection; its pods roll when these change
  env          variables of the container beside those that all roles have
  ports        ports of the container beside the one for probes and metrics, by name
  volumes      volumes of the pod
  mounts       where they are mounted
  clusterRules rules of the ClusterRole
  rules        rules of the Role in the release's namespace
*/}}
{{- define "outrigger.role" -}}
{{ include "outrigger.role.account" . }}
---
{{ include "outrigger.role.rights" . }}
---
{{ include "outrigger.role.deployment" . }}
---
{{ include "outrigger.role.disruptions" . }}
{{- if .root.Values.networkPolicy.enabled }}
---
{{ include "outrigger.role.network" . }}
{{- end }}
{{- end }}

{{- define "outrigger.role.selector" -}}
app.kubernetes.io/name: outrigger
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/component: {{ .name }}
{{- end }}

{{- define "outrigger.role.metadata" -}}
name: outrigger-{{ .name }}
namespace: {{ .root.Release.Namespace | quote }}
labels:
  {{- include "outrigger.labels" .root | nindent 2 }}
  app.kubernetes.io/component: {{ .name }}
{{- end }}

{{- define "outrigger.role.account" -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  {{- include "outrigger.role.metadata" . | nindent 2 }}
  {{- with (index .root.Values .name).serviceAccountAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
# The Deployment asks for the token.
automountServiceAccountToken: false
{{- end }}

{{- define "outrigger.role.rights" -}}
{{- if .clusterRules -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: outrigger-{{ .name }}
  labels:
    {{- include "outrigger.labels" .root | nindent 4 }}
    app.kubernetes.io/component: {{ .name }}
rules:
  {{- toYaml .clusterRules | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: outrigger-{{ .name }}
  labels:
    {{- include "outrigger.labels" .root | nindent 4 }}
    app.kubernetes.io/component: {{ .name }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: outrigger-{{ .name }}
subjects:
  - {{ include "outrigger.role.subject" . | indent 4 | trim }}
{{- end }}
{{- if .rules }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  {{- include "outrigger.role.metadata" . | nindent 2 }}
rules:
  {{- toYaml .rules | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  {{- include "outrigger.role.metadata" . | nindent 2 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: outrigger-{{ .name }}
subjects:
  - {{ include "outrigger.role.subject" . | indent 4 | trim }}
{{- end }}
{{- end }}

{{- define "outrigger.role.subject" -}}
kind: ServiceAccount
name: outrigger-{{ .name }}
namespace: {{ .root.Release.Namespace | quote }}
{{- end }}

{{- define "outrigger.role.deployment" -}}
{{- $values := index .root.Values .name -}}
{{- $arguments := .arguments -}}
{{- $annotations := $values.podAnnotations -}}
{{- $volumes := .volumes | default list -}}
{{- $mounts := .mounts | default list -}}
{{- if .settings -}}
{{- $arguments = append $arguments "--values=/etc/outrigger/values.yaml" -}}
{{- $annotations = merge (dict "checksum/settings" (include "outrigger.settings" .root | sha256sum)) $annotations -}}
{{- $volumes = append $volumes (dict "name" "settings" "configMap" (dict "name" "outrigger-settings")) -}}
{{- $mounts = append $mounts (dict "name" "settings" "mountPath" "/etc/outrigger" "readOnly" true) -}}
{{- end -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  {{- include "outrigger.role.metadata" . | nindent 2 }}
spec:
  {{- with $values.replicas }}
  replicas: {{ . }}
  {{- end }}
  selector:
    matchLabels:
      {{- include "outrigger.role.selector" . | nindent 6 }}
  strategy:
    {{- if $values.hostNetwork }}
    # A new pod may find no node whose ports are free.
    rollingUpdate: {maxSurge: 0, maxUnavailable: 1}
    {{- else }}
    rollingUpdate: {maxSurge: 1, maxUnavailable: 0}
    {{- end }}
  template:
    metadata:
      labels:
        {{- include "outrigger.labels" .root | nindent 8 }}
        app.kubernetes.io/component: {{ .name }}
        {{- with $values.podLabels }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- with $annotations }}
      annotations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
    spec:
      serviceAccountName: outrigger-{{ .name }}
      automountServiceAccountToken: true
      {{- with .root.Values.image.pullSecrets }}
      imagePullSecrets:
        {{- range . }}
        - name: {{ . | quote }}
        {{- end }}
      {{- end }}
      {{- with $values.priorityClassName }}
      priorityClassName: {{ . | quote }}
      {{- end }}
      {{- if $values.hostNetwork }}
      hostNetwork: true
      dnsPolicy: ClusterFirstWithHostNet
      {{- end }}
      # After the drain, requests that have begun are finished.
      terminationGracePeriodSeconds: {{ add $values.drainSeconds 20 }}
      securityContext:
        # Which user, the image says, or the cluster: OpenShift gives each namespace ids of its own.
        runAsNonRoot: true
        seccompProfile: {type: RuntimeDefault}
      containers:
        - name: outrigger
          image: {{ include "outrigger.image" .root | quote }}
          imagePullPolicy: {{ .root.Values.image.pullPolicy }}
          args:
            - serve
            - --roles={{ .name }}
            - --status-address=[::]:{{ $values.statusPort }}
            - --drain-delay={{ $values.drainSeconds }}s
            - {{ printf "--log=%s" .root.Values.log.filter | quote }}
            - --log-format={{ .root.Values.log.format }}
            {{- toYaml $arguments | nindent 12 }}
          env:
            - name: OUTRIGGER_NAMESPACE
              valueFrom:
                fieldRef: {fieldPath: metadata.namespace}
            {{- with concat (.env | default list) $values.env }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
          ports:
            - {name: status, containerPort: {{ $values.statusPort }}, protocol: TCP}
            {{- range $name, $port := .ports }}
            - {name: {{ $name }}, containerPort: {{ $port }}, protocol: TCP}
            {{- end }}
          livenessProbe:
            httpGet: {path: /livez, port: status}
            periodSeconds: 10
            timeoutSeconds: 5
            failureThreshold: 3
          readinessProbe:
            httpGet: {path: /readyz, port: status}
            periodSeconds: 2
            timeoutSeconds: 2
            failureThreshold: 2
          resources:
            {{- toYaml $values.resources | nindent 12 }}
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities: {drop: [ALL]}
          {{- with $mounts }}
          volumeMounts:
            {{- toYaml . | nindent 12 }}
          {{- end }}
      {{- with $volumes }}
      volumes:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      topologySpreadConstraints:
        {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
        - topologyKey: {{ . }}
          maxSkew: 1
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels:
              {{- include "outrigger.role.selector" $ | nindent 14 }}
          matchLabelKeys: [pod-template-hash]
        {{- end }}
      nodeSelector:
        {{- merge (dict "kubernetes.io/os" "linux") $values.nodeSelector | toYaml | nindent 8 }}
      {{- with $values.tolerations }}
      tolerations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $values.affinity }}
      affinity:
        {{- toYaml . | nindent 8 }}
      {{- end }}
{{- end }}

{{/* `maxUnavailable` holds for any number of replicas, one included: a drain is never stuck. */}}
{{- define "outrigger.role.disruptions" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "outrigger.role.metadata" . | nindent 2 }}
spec:
  maxUnavailable: 1
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "outrigger.role.selector" . | nindent 6 }}
{{- end }}

{{- define "outrigger.role.network" -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  {{- include "outrigger.role.metadata" . | nindent 2 }}
spec:
  podSelector:
    matchLabels:
      {{- include "outrigger.role.selector" . | nindent 6 }}
  policyTypes: [Ingress, Egress]
  ingress:
    - ports:
        - {port: status, protocol: TCP}
      {{- with .root.Values.networkPolicy.metricsFrom }}
      from:
        {{- toYaml . | nindent 8 }}
      {{- end }}
    {{- range $name, $port := .ports }}
    - ports:
        - {port: {{ $name }}, protocol: TCP}
    {{- end }}
  # Where the API server, the cluster's DNS and a collector are, no rule can say for every cluster.
  egress: [{}]
{{- end }}
