// Command controller-runtime is the webhook that is measured beside ours: what one writes in Go today, with the library
// most webhooks use. It adds the same sidecars, which it reads from a file, to pods that ask for them.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"log"
	"net/http"
	"os"

	corev1 "k8s.io/api/core/v1"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
)

// addition is what a pod is given.
type addition struct {
	Annotations    map[string]string    `json:"annotations"`
	InitContainers []corev1.Container   `json:"initContainers"`
	Volumes        []corev1.Volume      `json:"volumes"`
	Env            []corev1.EnvVar      `json:"env"`
	VolumeMounts   []corev1.VolumeMount `json:"volumeMounts"`
}

// injector adds what the value of a pod's annotation names.
type injector struct {
	additions map[string]addition
	decoder   admission.Decoder
}

func (i *injector) Handle(_ context.Context, request admission.Request) admission.Response {
	pod := &corev1.Pod{}
	if err := i.decoder.Decode(request, pod); err != nil {
		return admission.Errored(http.StatusBadRequest, err)
	}
	addition, asked := i.additions[pod.Annotations["outrigger.dev/inject"]]
	if !asked {
		return admission.Allowed("")
	}
	addition.applyTo(pod)
	changed, err := json.Marshal(pod)
	if err != nil {
		return admission.Errored(http.StatusInternalServerError, err)
	}
	return admission.PatchResponseFromRaw(request.Object.Raw, changed)
}

func (a addition) applyTo(pod *corev1.Pod) {
	for name, value := range a.Annotations {
		pod.Annotations[name] = value
	}
	for n := range pod.Spec.Containers {
		container := &pod.Spec.Containers[n]
		container.Env = append(container.Env, a.Env...)
		container.VolumeMounts = append(container.VolumeMounts, a.VolumeMounts...)
	}
	pod.Spec.InitContainers = append(pod.Spec.InitContainers, a.InitContainers...)
	pod.Spec.Volumes = append(pod.Spec.Volumes, a.Volumes...)
}

func main() {
	port := flag.Int("port", 0, "port to listen on")
	certificates := flag.String("certificates", "", "folder with tls.crt and tls.key")
	path := flag.String("additions", "", "JSON file with what to add for each value of the annotation")
	flag.Parse()
	ctrl.SetLogger(zap.New())

	text, err := os.ReadFile(*path)
	if err != nil {
		log.Fatal(err)
	}
	handler := &injector{decoder: admission.NewDecoder(clientgoscheme.Scheme)}
	if err := json.Unmarshal(text, &handler.additions); err != nil {
		log.Fatal(err)
	}
	server := webhook.NewServer(webhook.Options{Host: "127.0.0.1", Port: *port, CertDir: *certificates})
	server.Register("/mutate/pods", &webhook.Admission{Handler: handler})
	if err := server.Start(ctrl.SetupSignalHandler()); err != nil {
		log.Fatal(err)
	}
}
