{{/* Prefix of all names. The same for every release: gateways and agents are found by fixed labels in one namespace. */}}
{{- define "stoker.fullname" -}}
{{- .Values.fullnameOverride | default "stoker" -}}
{{- end -}}

{{/* Labels of a component: (dict "root" $ "component" "operator") */}}
{{- define "stoker.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/part-of: stoker
{{ include "stoker.selector" . }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* What selectors are made of; they cannot be changed, and Stoker's processes find one another by name and component. */}}
{{- define "stoker.selector" -}}
app.kubernetes.io/name: stoker
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end -}}

{{/* Reference of an image: (dict "root" $ "image" IMAGE). An own registry or tag wins over those of all, a digest over both. */}}
{{- define "stoker.image" -}}
{{- $registry := .image.registry | default .root.Values.image.registry -}}
{{- $tag := .image.tag | default .root.Values.image.tag | default .root.Chart.AppVersion -}}
{{- printf "%s/%s" $registry .image.repository -}}
{{- if .image.digest -}}@{{ .image.digest }}{{- else -}}:{{ $tag }}{{- end -}}
{{- end -}}

{{/* kube-scheduler of the cluster's version, unless a tag says otherwise. What vendors append (-gke.1, +k3s1) is no tag. */}}
{{- define "stoker.kubeSchedulerImage" -}}
{{- $image := .Values.scheduler.kubeScheduler.image -}}
{{- $tag := $image.tag | default (regexFind "^v[0-9]+\\.[0-9]+\\.[0-9]+" .Capabilities.KubeVersion.Version) -}}
{{- include "stoker.image" (dict "root" . "image" (merge (dict "tag" $tag) $image)) -}}
{{- end -}}

{{/* Name of a component's account: (dict "root" $ "component" "operator") */}}
{{- define "stoker.account" -}}
{{- $account := (index .root.Values .component).serviceAccount -}}
{{- if $account.name -}}
{{- $account.name -}}
{{- else if $account.create -}}
{{- include "stoker.fullname" .root }}-{{ .component -}}
{{- else -}}
{{- fail (printf "%s.serviceAccount.name must name an account where %s.serviceAccount.create is false" .component .component) -}}
{{- end -}}
{{- end -}}

{{/* Environment that every process of Stoker has: (dict "root" $ "values" COMPONENT-VALUES) */}}
{{- define "stoker.env" -}}
- name: STOKER_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
- name: STOKER_POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: STOKER_POD_IP
  valueFrom: {fieldRef: {fieldPath: status.podIP}}
- name: STOKER_CLUSTER_DOMAIN
  value: {{ .root.Values.clusterDomain | quote }}
- name: STOKER_LOG_LEVEL
  value: {{ .root.Values.logLevel | quote }}
- name: STOKER_LOG_FORMAT
  value: {{ .root.Values.logFormat | quote }}
{{- range $name, $value := .values.settings }}
- name: {{ $name }}
  value: {{ include "stoker.text" $value | quote }}
{{- end }}
{{- with .values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* A value as text. Numbers come as floats, and 1000000 would become 1e+06. */}}
{{- define "stoker.text" -}}
{{- if kindIs "string" . -}}{{ . }}{{- else -}}{{ toJson . }}{{- end -}}
{{- end -}}

{{/* Where pods go and whose images they may pull: (dict "root" $ "component" "operator" "values" COMPONENT-VALUES) */}}
{{- define "stoker.placement" -}}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Replicas apart from one another, where that can be; same arguments. */}}
{{- define "stoker.spread" -}}
topologySpreadConstraints:
{{- if .values.topologySpreadConstraints }}
  {{- toYaml .values.topologySpreadConstraints | nindent 2 }}
{{- else }}
  {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "stoker.selector" $ | nindent 8 }}
    matchLabelKeys: [pod-template-hash]
  {{- end }}
{{- end }}
{{- end -}}

{{/* Metadata of a pod template; "checksum" is what a change of must restart it. */}}
{{- define "stoker.podMetadata" -}}
labels:
  {{- include "stoker.labels" . | nindent 2 }}
  {{- with .values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
annotations:
  kubectl.kubernetes.io/default-container: {{ .component }}
  {{- with .checksum }}
  checksum/config: {{ sha256sum . }}
  {{- end }}
  {{- with .values.podAnnotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* Every container of ours. */}}
{{- define "stoker.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* Probes of a process of ours. Alive is who answers at all: patience costs nothing, a needless restart does. */}}
{{- define "stoker.probes" -}}
livenessProbe:
  httpGet: {path: /healthz, port: metrics}
  initialDelaySeconds: 10
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: {path: /readyz, port: metrics}
  periodSeconds: 2
  timeoutSeconds: 5
  failureThreshold: 3
{{- end -}}

{{/* A peer of a NetworkPolicy: the pods of a component of this release. */}}
{{- define "stoker.peer" -}}
podSelector:
  matchLabels:
    {{- include "stoker.selector" . | nindent 4 }}
{{- end -}}

{{/* The rule that lets metrics be scraped: (dict "root" $ "ports" (list 9090)); nothing where no namespace may. */}}
{{- define "stoker.metricsRule" -}}
{{- with .root.Values.metricsNamespaces -}}
- from:
    - namespaceSelector:
        matchExpressions:
          - key: kubernetes.io/metadata.name
            operator: In
            values: {{ toJson . }}
  ports:
    {{- range $.ports }}
    - {protocol: TCP, port: {{ . }}}
    {{- end }}
{{- end }}
{{- end -}}

{{/* A PodDisruptionBudget where there is more than one replica. */}}
{{- define "stoker.pdb" -}}
{{- if and .values.pdb.enabled (gt (int .values.replicas) 1) }}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "stoker.fullname" .root }}-{{ .component }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "stoker.labels" . | nindent 4 }}
spec:
  minAvailable: {{ .values.pdb.minAvailable }}
  # A replica that is not ready protects nobody, and would keep a node from being drained.
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "stoker.selector" . | nindent 6 }}
{{- end }}
{{- end -}}

{{/* A component's account. */}}
{{- define "stoker.serviceAccount" -}}
{{- if .values.serviceAccount.create }}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ include "stoker.account" . }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "stoker.labels" . | nindent 4 }}
  {{- with .values.serviceAccount.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
# Pods ask for their token themselves.
automountServiceAccountToken: false
{{- end }}
{{- end -}}

{{/* Bindings of a component's own Role and ClusterRole. */}}
{{- define "stoker.bindings" -}}
{{- $name := printf "%s-%s" (include "stoker.fullname" .root) .component -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: {{ $name }}
  labels:
    {{- include "stoker.labels" . | nindent 4 }}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {{ $name }}}
subjects:
  - {kind: ServiceAccount, name: {{ include "stoker.account" . }}, namespace: {{ .root.Release.Namespace }}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: {{ $name }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "stoker.labels" . | nindent 4 }}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: {{ $name }}}
subjects:
  - {kind: ServiceAccount, name: {{ include "stoker.account" . }}, namespace: {{ .root.Release.Namespace }}}
{{- end -}}
