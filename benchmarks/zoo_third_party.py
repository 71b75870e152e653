"""A hundred networks of six libraries, with random weights, each with a small input and a training step of its own."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from zoo_network import Call, Network

LIBRARIES = {"smp": "segmentation_models_pytorch", "torchvision": "torchvision.models"}
"""Modules of the libraries that names of networks shorten."""

PACKAGES = {"smp": "segmentation-models-pytorch"}
"""Packages of the libraries that names of networks shorten."""


@dataclass(frozen=True)
class Recipe:
    """How to build a network; see `Network` for the other attributes.

    Attributes:
        build: Takes the library's module and returns the network.
        example: See `Network`.
        training_call: See `Network`.
    """

    build: Callable[[Any], nn.Module]
    example: tuple[Tensor, ...]
    training_call: Call | None = None


def built(name: str) -> Network:
    """Build a network with random weights."""
    recipe = NETWORKS[name]
    return Network(recipe.build(imported(name)), recipe.example, recipe.training_call)


def imported(name: str) -> Any:
    """Import the library of a network."""
    library = name.partition(":")[0]
    return importlib.import_module(LIBRARIES.get(library, library))


def _image(side: int = 64, channels: int = 3) -> tuple[Tensor]:
    return (torch.zeros(1, channels, side, side),)


def _volume(side: int = 32, channels: int = 1) -> tuple[Tensor]:
    return (torch.zeros(1, channels, side, side, side),)


def _tokens(length: int = 12) -> tuple[Tensor]:
    return (torch.full((1, length), 99),)


def _yolo(name: str) -> Recipe:
    def build(library: Any) -> nn.Module:
        kind = library.RTDETR if "rtdetr" in name else library.YOLO
        model: nn.Module = kind(f"{name}.yaml").model
        for parameter in model.parameters():
            parameter.requires_grad_(True)
        return model

    return Recipe(build, _image())


def _smp(name: str, encoder: str, side: int = 64) -> Recipe:
    def build(library: Any) -> nn.Module:
        model: nn.Module = getattr(library, name)(encoder, encoder_weights=None, classes=2)
        return model

    return Recipe(build, _image(side))


def _monai(name: str, example: tuple[Tensor, ...], **settings: Any) -> Recipe:
    def build(library: Any) -> nn.Module:
        model: nn.Module = getattr(importlib.import_module("monai.networks.nets"), name)(**settings)
        return model

    return Recipe(build, example)


def _transformer(name: str, config: str, example: tuple[Tensor, ...], **settings: Any) -> Recipe:
    def build(library: Any) -> nn.Module:
        model: nn.Module = getattr(library, name)(getattr(library, config)(**settings))
        return model

    return Recipe(build, example)


def _segmenter_of_backbone(library: Any) -> nn.Module:
    backbone = library.ConvNextConfig(
        hidden_sizes=[32, 64, 96, 128], depths=[1, 1, 2, 1], out_features=["stage1", "stage2", "stage3", "stage4"]
    )
    config = library.UperNetConfig(
        backbone_config=backbone, hidden_size=64, auxiliary_in_channels=96, auxiliary_channels=32, num_labels=5
    )
    model: nn.Module = library.UperNetForSemanticSegmentation(config)
    return model


def _detr(library: Any) -> nn.Module:
    backbone = library.ResNetConfig(
        embedding_size=32,
        hidden_sizes=[32, 64, 96, 128],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=["stage4"],
    )
    config = library.DetrConfig(
        use_timm_backbone=False, backbone=None, use_pretrained_backbone=False, backbone_config=backbone, d_model=64,
        encoder_layers=2,
        decoder_layers=2, encoder_ffn_dim=128, decoder_ffn_dim=128, num_queries=10, num_labels=5,
    )  # fmt: skip
    model: nn.Module = library.DetrForObjectDetection(config)
    return model


def _clip(library: Any) -> nn.Module:
    small = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = library.CLIPConfig(
        text_config={**small, "vocab_size": 100, "eos_token_id": 99, "max_position_embeddings": 16},
        vision_config={**small, "image_size": 64, "patch_size": 16}, projection_dim=32,
    )  # fmt: skip
    model: nn.Module = library.CLIPModel(config)
    return model


def _losses_of_detector(model: nn.Module, inputs: tuple[Tensor]) -> Any:
    """Return the losses of a detector of torchvision for one box in every image."""
    (images,) = inputs
    side = images.shape[-1]
    mask = torch.zeros(1, side, side, dtype=torch.uint8)
    mask[:, side // 4 : side // 2, side // 4 : side // 2] = 1
    box = torch.tensor([[side / 4, side / 4, side / 2, side / 2]], dtype=images.dtype)
    return model(list(images), [{"boxes": box, "labels": torch.tensor([1]), "masks": mask} for _ in images])


def _detector(name: str, side: int = 128, **settings: Any) -> Recipe:
    def build(library: Any) -> nn.Module:
        model: Any = getattr(library.detection, name)(weights=None, weights_backbone=None, num_classes=5, **settings)
        if model.transform.fixed_size is not None:
            model.transform.fixed_size = (side, side)
        built: nn.Module = model
        return built

    return Recipe(build, _image(side), _losses_of_detector)


def _video(name: str, example: tuple[Tensor]) -> Recipe:
    return Recipe(lambda library: getattr(library.video, name)(weights=None, num_classes=10), example)


def _multiscale_video(library: Any) -> nn.Module:
    block = library.video.mvit.MSBlockConfig
    blocks = [
        block(1, 32, 32, [3, 3, 3], [3, 3, 3], [1, 1, 1], [1, 2, 2]),
        block(2, 32, 64, [3, 3, 3], [3, 3, 3], [1, 2, 2], [1, 1, 1]),
        block(2, 64, 64, [3, 3, 3], [3, 3, 3], [1, 1, 1], [1, 1, 1]),
    ]
    model: nn.Module = library.video.MViT(
        (64, 64), 4, blocks, residual_pool=True, residual_with_cls_embed=False, rel_pos_embed=True,
        proj_after_attn=True,
        patch_embed_kernel=(3, 7, 7), patch_embed_stride=(2, 4, 4), patch_embed_padding=(1, 3, 3), num_classes=10,
    )  # fmt: skip
    return model


def _diffuser(name: str, example: tuple[Tensor, ...], **settings: Any) -> Recipe:
    return Recipe(lambda library: getattr(library, name)(**settings), example)


_CLIP_OF_VIDEO = (torch.zeros(1, 3, 4, 64, 64),)
_STEP = torch.tensor([99])
_VOLUMES = {"spatial_dims": 3, "in_channels": 1, "out_channels": 2}
_IMAGES = {"spatial_dims": 2, "in_channels": 3, "out_channels": 2}
_UNET = {"channels": (16, 32, 64, 128), "strides": (2, 2, 2)}
_SMALL = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
_TEXT = {**_SMALL, "vocab_size": 100, "max_position_embeddings": 32}
_PATCHES = {**_SMALL, "image_size": 64, "patch_size": 16}
_STAGES = {"hidden_sizes": [32, 64, 96, 128], "depths": [1, 1, 2, 1]}

_YOLOS = (
    "yolov3-tiny", "yolov8n-p6", "yolov5n", "yolov6n", "yolov8n", "yolov8n-seg", "yolov8n-pose", "yolov8n-obb",
    "yolov8n-cls", "yolov8n-ghost", "yolov9t", "yolov10n", "yolo11n", "yolo12n", "yolo26n", "rtdetr-resnet50",
)  # fmt: skip
_ENCODERS = (
    "resnet18", "vgg11_bn", "mobilenet_v2", "efficientnet-b0", "densenet121", "se_resnet50", "dpn68", "mit_b0",
    "tu-regnetx_002", "mobileone_s0",
)  # fmt: skip
_DETECTORS = (
    "fasterrcnn_resnet50_fpn", "fasterrcnn_mobilenet_v3_large_fpn", "maskrcnn_resnet50_fpn", "retinanet_resnet50_fpn",
)  # fmt: skip

NETWORKS: Mapping[str, Recipe] = {
    **{
        f"ultralytics:{name}": _yolo(name)
        for name in _YOLOS
    },
    **{
        f"smp:Unet/{encoder}": _smp("Unet", encoder)
        for encoder in _ENCODERS
    },
    **{
        f"smp:{name}/resnet18": _smp(name, "resnet18")
        for name in ["UnetPlusPlus", "MAnet", "Linknet", "FPN", "PSPNet", "DeepLabV3", "DeepLabV3Plus", "UPerNet"]
    },
    "smp:PAN/resnet18": _smp("PAN", "resnet18", side=128),
    "smp:Segformer/mit_b0": _smp("Segformer", "mit_b0"),
    "monai:UNet/2d": _monai("UNet", _image(), **_IMAGES, **_UNET, num_res_units=2),
    "monai:UNet/3d": _monai("UNet", _volume(), **_VOLUMES, **_UNET, num_res_units=2),
    "monai:BasicUNet/3d": _monai("BasicUNet", _volume(), **_VOLUMES, features=(16, 16, 32, 64, 128, 16)),
    "monai:BasicUNetPlusPlus/2d": _monai("BasicUNetPlusPlus", _image(), **_IMAGES, features=(16, 16, 32, 64, 128, 16)),
    "monai:AttentionUnet/3d": _monai("AttentionUnet", _volume(), **_VOLUMES, **_UNET),
    "monai:DynUNet/3d": _monai(
        "DynUNet", _volume(), **_VOLUMES, kernel_size=[3, 3, 3, 3], strides=[1, 2, 2, 2],
        upsample_kernel_size=[2, 2, 2],
        filters=[16, 32, 64, 128], res_block=True, deep_supervision=True,
    ),
    "monai:SegResNet/2d": _monai("SegResNet", _image(), **_IMAGES, init_filters=16),
    "monai:SegResNet/3d": _monai("SegResNet", _volume(), **_VOLUMES, init_filters=16),
    "monai:SegResNetDS/3d": _monai("SegResNetDS", _volume(), **_VOLUMES, init_filters=16),
    "monai:VNet/3d": _monai("VNet", _volume(), spatial_dims=3, in_channels=1, out_channels=2),
    "monai:UNETR/3d": _monai(
        "UNETR", _volume(), in_channels=1, out_channels=2, img_size=(32, 32, 32), feature_size=16, hidden_size=96,
        mlp_dim=192,
        num_heads=6,
    ),
    "monai:SwinUNETR/2d": _monai("SwinUNETR", _image(), **_IMAGES, feature_size=12),
    "monai:DenseNet121/3d": _monai("DenseNet121", _volume(), **_VOLUMES),
    "monai:resnet18/3d": _monai("resnet18", _volume(), spatial_dims=3, n_input_channels=1, num_classes=3),
    "monai:SEResNet50/2d": _monai("SEResNet50", _image(), spatial_dims=2, in_channels=3, num_classes=3),
    "monai:EfficientNetBN/2d": _monai("EfficientNetBN", _image(), model_name="efficientnet-b0", pretrained=False),
    "monai:HighResNet/3d": _monai("HighResNet", _volume(16), **_VOLUMES),
    "monai:AutoEncoder/2d": _monai("AutoEncoder", _image(), **_IMAGES, channels=(16, 32, 64), strides=(2, 2, 2)),
    "monai:FlexibleUNet/2d": _monai("FlexibleUNet", _image(), in_channels=3, out_channels=2, backbone="resnet18"),
    "monai:MedNeXt/3d": _monai("MedNeXtS", _volume(), **_VOLUMES),
    "transformers:ResNet": _transformer("ResNetForImageClassification", "ResNetConfig", _image()),
    "transformers:RegNet": _transformer(
        "RegNetForImageClassification", "RegNetConfig", _image(), **_STAGES, groups_width=16,
    ),
    "transformers:ConvNext": _transformer("ConvNextForImageClassification", "ConvNextConfig", _image(), **_STAGES),
    "transformers:ConvNextV2": _transformer(
        "ConvNextV2ForImageClassification", "ConvNextV2Config", _image(), **_STAGES,
    ),
    "transformers:MobileNetV1": _transformer("MobileNetV1ForImageClassification", "MobileNetV1Config", _image()),
    "transformers:MobileNetV2": _transformer("MobileNetV2ForImageClassification", "MobileNetV2Config", _image()),
    "transformers:MobileViT": _transformer(
        "MobileViTForImageClassification", "MobileViTConfig", _image(), image_size=64,
    ),
    "transformers:EfficientNet": _transformer(
        "EfficientNetForImageClassification", "EfficientNetConfig", _image(), width_coefficient=1.0,
        depth_coefficient=1.0,
        hidden_dim=1280,
    ),
    "transformers:Bit": _transformer(
        "BitForImageClassification", "BitConfig", _image(), embedding_size=32, hidden_sizes=[64, 128, 192, 256],
        depths=[1, 1, 2, 1],
        num_groups=8,
    ),
    "transformers:PoolFormer": _transformer(
        "PoolFormerForImageClassification", "PoolFormerConfig", _image(), hidden_sizes=[32, 64, 96, 128],
        depths=[1, 1, 2, 1],
    ),
    "transformers:Segformer": _transformer("SegformerForSemanticSegmentation", "SegformerConfig", _image()),
    "transformers:PvtV2": _transformer("PvtV2ForImageClassification", "PvtV2Config", _image(), image_size=64),
    "transformers:Levit": _transformer(
        "LevitForImageClassification", "LevitConfig", _image(), image_size=64, hidden_sizes=[64, 96, 128],
        depths=[1, 1, 1],
    ),
    "transformers:ViT": _transformer("ViTForImageClassification", "ViTConfig", _image(), **_PATCHES),
    "transformers:DeiT": _transformer("DeiTForImageClassificationWithTeacher", "DeiTConfig", _image(), **_PATCHES),
    "transformers:Beit": _transformer(
        "BeitForImageClassification", "BeitConfig", _image(), **_PATCHES, use_relative_position_bias=True,
    ),
    "transformers:Swin": _transformer(
        "SwinForImageClassification", "SwinConfig", _image(), image_size=64, embed_dim=32, depths=[2, 2],
        num_heads=[2, 4], window_size=4,
    ),
    "transformers:Dinov2": _transformer("Dinov2ForImageClassification", "Dinov2Config", _image(), **_PATCHES),
    "transformers:Yolos": _transformer(
        "YolosForObjectDetection", "YolosConfig", _image(), **{**_PATCHES, "image_size": [64, 64]},
        num_detection_tokens=5,
    ),
    "transformers:Detr": Recipe(_detr, _image()),
    "transformers:UperNet": Recipe(_segmenter_of_backbone, _image()),
    "transformers:Bert": _transformer("BertForSequenceClassification", "BertConfig", _tokens(), **_TEXT),
    "transformers:DistilBert": _transformer(
        "DistilBertForSequenceClassification", "DistilBertConfig", _tokens(), vocab_size=100,
        max_position_embeddings=32, dim=64,
        hidden_dim=128, n_layers=2, n_heads=4,
    ),
    "transformers:GPT2": _transformer(
        "GPT2LMHeadModel", "GPT2Config", _tokens(), vocab_size=100, n_positions=32, n_embd=64, n_layer=2, n_head=4,
        use_cache=False,
    ),
    "transformers:Llama": _transformer(
        "LlamaForCausalLM", "LlamaConfig", _tokens(), **_TEXT, num_key_value_heads=2, use_cache=False,
    ),
    "transformers:T5": _transformer(
        "T5ForConditionalGeneration", "T5Config", (*_tokens(), torch.ones(1, 12, dtype=torch.int64), *_tokens(8)),
        vocab_size=100,
        d_model=64, d_ff=128, d_kv=16, num_layers=2, num_heads=4, use_cache=False,
    ),
    "transformers:Wav2Vec2": _transformer(
        "Wav2Vec2ForCTC", "Wav2Vec2Config", (torch.zeros(1, 4000),), **_SMALL, vocab_size=20,
        conv_dim=(32, 32, 64, 64, 64, 64, 64),
        num_conv_pos_embedding_groups=4, num_conv_pos_embeddings=16, mask_time_prob=0.0, layerdrop=0.0,
    ),
    "transformers:CLIP": Recipe(_clip, (*_tokens(), *_image())),
    **{
        f"torchvision:detection/{name}": _detector(name, min_size=128, max_size=128)
        for name in _DETECTORS
    },
    "torchvision:detection/fcos_resnet50_fpn": _detector(
        "fcos_resnet50_fpn", min_size=128, max_size=128, score_thresh=0.0,
    ),
    "torchvision:detection/ssdlite320_mobilenet_v3_large": _detector("ssdlite320_mobilenet_v3_large"),
    **{
        f"torchvision:video/{name}": _video(name, _CLIP_OF_VIDEO)
        for name in ("r3d_18", "mc3_18", "r2plus1d_18", "swin3d_t")
    },
    "torchvision:video/MViT": Recipe(_multiscale_video, _CLIP_OF_VIDEO),
    "diffusers:UNet2DModel": _diffuser(
        "UNet2DModel", (*_image(32), _STEP), sample_size=32, block_out_channels=(32, 64, 64), layers_per_block=1,
        norm_num_groups=8,
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=8,
    ),
    "diffusers:UNet2DConditionModel": _diffuser(
        "UNet2DConditionModel", (*_image(32, 4), _STEP, torch.zeros(1, 7, 32)), sample_size=32,
        block_out_channels=(32, 64),
        layers_per_block=1, norm_num_groups=8, cross_attention_dim=32, attention_head_dim=8,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    ),
    "diffusers:AutoencoderKL": _diffuser(
        "AutoencoderKL", _image(32), block_out_channels=(32, 64), layers_per_block=1, norm_num_groups=8,
        latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    ),
    "diffusers:VQModel": _diffuser(
        "VQModel", _image(32), block_out_channels=(32, 64), layers_per_block=1, norm_num_groups=8, num_vq_embeddings=64,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    ),
    "diffusers:AutoencoderTiny": _diffuser(
        "AutoencoderTiny", _image(32), encoder_block_out_channels=(32, 32), decoder_block_out_channels=(32, 32),
        num_encoder_blocks=(1, 2), num_decoder_blocks=(2, 1),
    ),
}  # fmt: skip
"""The networks by library and name."""
