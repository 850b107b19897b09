{{/* How many pods there are, and how many may be away. Each takes an instance. */}}
{{- define "pgbouncer.autoscaler" -}}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  {{- include "pgbouncer.metadata" . | nindent 2 }}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: {{ .fullname }}}
  minReplicas: {{ .values.autoscaling.minReplicas }}
  maxReplicas: {{ .values.autoscaling.maxReplicas }}
  metrics:
    {{- if eq .values.autoscaling.metric "cpu" }}
    - type: ContainerResource
      containerResource:
        container: pgbouncer
        name: cpu
        target: {type: Utilization, averageUtilization: {{ .values.autoscaling.target }}}
    {{- else }}
    - type: Pods
      pods:
        metric: {name: pgbouncer_pools_client_waiting_connections}
        target: {type: AverageValue, averageValue: {{ .values.autoscaling.target | quote }}}
    {{- end }}
{{- end }}

{{- define "pgbouncer.disruptionBudget" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "pgbouncer.metadata" . | nindent 2 }}
spec:
  maxUnavailable: {{ .values.disruptionBudget.maxUnavailable }}
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "pgbouncer.selector" . | nindent 6 }}
{{- end }}
