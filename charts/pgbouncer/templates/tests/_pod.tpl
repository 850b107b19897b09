{{/* A pod that runs the script. Takes instance, name (of what it does), weight, and `passwords`: the Secrets of its own user by the folder. */}}
{{- define "pgbouncer.testPod" -}}
{{- $instance := .instance -}}
{{- $values := $instance.values -}}
{{- $tests := $instance.root.Values.tests -}}
apiVersion: v1
kind: Pod
metadata:
  name: {{ $instance.fullname }}-test-{{ .name }}
  namespace: {{ $instance.root.Release.Namespace | quote }}
  labels:
    {{- include "pgbouncer.releaseLabels" $instance.root | nindent 4 }}
    app.kubernetes.io/component: test
  annotations:
    helm.sh/hook: test
    helm.sh/hook-weight: {{ .weight | quote }}
    # It stays for its log, until the next test.
    helm.sh/hook-delete-policy: before-hook-creation
spec:
  restartPolicy: Never
  automountServiceAccountToken: false
  # By these the Service is found without a name server, which is not what is tested.
  enableServiceLinks: true
  activeDeadlineSeconds: {{ mul 3 $tests.timeoutSeconds }}
  terminationGracePeriodSeconds: 1
  {{- with $instance.root.Values.image.pullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . | quote }}
    {{- end }}
  {{- end }}
  {{- with $values.podSecurityContext }}
  securityContext:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  nodeSelector:
    {{- merge (dict "kubernetes.io/os" "linux") $values.nodeSelector | toYaml | nindent 4 }}
  {{- with $values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: test
      image: {{ $tests.image | quote }}
      imagePullPolicy: {{ $instance.root.Values.image.pullPolicy }}
      command: [sh, /test/test.sh, {{ .name }}]
      env:
        - {name: HOME, value: /tmp}
        - {name: PGHOST, value: $({{ $instance.fullname | upper | replace "-" "_" }}_SERVICE_HOST)}
        - {name: PGPORT, value: {{ $values.service.port | quote }}}
        - {name: PGSSLMODE, value: {{ ternary "prefer" "require" (has $values.tls.client.mode (list "disable" "allow" "prefer")) }}}
        - {name: USERLIST_KEY, value: {{ $values.userlistKey | quote }}}
        - {name: ADMIN, value: {{ $values.adminUser | quote }}}
        - {name: PROBES, value: {{ $tests.user | quote }}}
        - {name: PROBE, value: {{ include "pgbouncer.testUser" $instance | quote }}}
        - {name: CLIENTS, value: {{ $tests.clients | quote }}}
        - {name: MOST_CLIENTS, value: {{ $tests.mostClients | quote }}}
        - {name: PODS, value: {{ $instance.pods | quote }}}
        - {name: LIMITED, value: {{ include "pgbouncer.isAtLeast" (dict "instance" $instance "version" "1.24") | quote }}}
        - {name: TIMEOUT, value: {{ $tests.timeoutSeconds | quote }}}
        - {name: LATENCY, value: {{ $tests.latencyMilliseconds | quote }}}
      resources:
        requests: {cpu: 50m, memory: 64Mi}
        limits: {memory: 256Mi}
      {{- with $values.securityContext }}
      securityContext:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      volumeMounts:
        - {name: tmp, mountPath: /tmp}
        - {name: test, mountPath: /test, readOnly: true}
        - {name: userlist, mountPath: /userlist, readOnly: true}
        {{- range $folder, $secret := .passwords }}
        - {name: {{ $folder }}, mountPath: /{{ $folder }}, readOnly: true}
        {{- end }}
  volumes:
    - name: tmp
      emptyDir: {medium: Memory, sizeLimit: 8Mi}
    - name: test
      configMap: {name: {{ $instance.fullname }}-test-logins}
    - name: userlist
      secret: {secretName: {{ $instance.userlistSecret }}, defaultMode: 0440}
    {{- range $folder, $secret := .passwords }}
    - name: {{ $folder }}
      secret:
        secretName: {{ $secret }}
        defaultMode: 0440
        items: [{key: {{ first $values.userList.passwordKeys | quote }}, path: password}]
    {{- end }}
{{- end }}

{{/* A Secret of the test's own user. Takes instance, name, weight, password and labels. */}}
{{- define "pgbouncer.testSecret" -}}
apiVersion: v1
kind: Secret
metadata:
  name: {{ .instance.fullname }}-test-{{ .name }}
  namespace: {{ .instance.root.Release.Namespace | quote }}
  labels:
    {{- merge (dict) .labels (include "pgbouncer.releaseLabels" .instance.root | fromYaml) | toYaml | nindent 4 }}
  annotations:
    helm.sh/hook: test
    helm.sh/hook-weight: {{ .weight | quote }}
    helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded,hook-failed
stringData:
  {{ first .instance.values.userList.usernameKeys }}: {{ include "pgbouncer.testUser" .instance | quote }}
  {{ first .instance.values.userList.passwordKeys }}: {{ .password | quote }}
{{- end }}
