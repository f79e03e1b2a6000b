"""Catalog: the objects of the demo company and their fields, as object/describe names them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

EMPLOYEE_TYPES = frozenset({"employee", "employee_many"})
DEPARTMENT_TYPES = frozenset({"department", "department_many"})
REFERENCE_TYPES = frozenset({"object_reference", "master_detail"})
COMPUTED_TYPES = frozenset({"formula", "count", "quote"})
LONG_TYPES = frozenset({"long_text", "html_rich_text", "image", "file_attachment", "signature"})
LIST_TYPES = EMPLOYEE_TYPES | DEPARTMENT_TYPES | {"select_many", "tag", "array", "object_reference_many"}

LIFE_STATUS = {
    "ineffective": "未生效",
    "under_review": "审核中",
    "normal": "正常",
    "in_change": "变更中",
    "invalid": "作废",
}
DRIFT_FIELD = "drift__c"


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldDef:
    """One field. What is computed says from what: `quotes` names (reference field, field there), `sums` (detail object,
    field there), `difference` two fields of the same record. `only_get`: queries leave it out.
    """

    name: str
    label: str
    type: str = "text"
    define_type: str = "package"
    required: bool = False
    unique: bool = False
    options: Mapping[str, str] = field(default_factory=dict)
    target: str | None = None
    decimal_places: int = 2
    quotes: tuple[str, str] | None = None
    sums: tuple[str, str] | None = None
    difference: tuple[str, str] | None = None
    only_get: bool = False

    def describe(self) -> dict[str, Any]:
        """The entry of this field in object/describe."""
        entry: dict[str, Any] = {
            "api_name": self.name,
            "label": self.label,
            "type": self.type,
            "is_required": self.required,
            "is_active": True,
            "is_index": self.type not in COMPUTED_TYPES,
            "is_unique": self.unique or self.type == "auto_number",
            "define_type": self.define_type,
            "status": "released",
            "help_text": "",
        }
        if self.options:
            entry["options"] = [{"label": label, "value": value} for value, label in self.options.items()]
        if self.type in ("text", "long_text"):
            entry["max_length"] = 100 if self.type == "text" else 2000
        if self.type in ("number", "currency", "percentile", "formula", "count"):
            entry |= {"length": 14, "decimal_places": self.decimal_places, "round_mode": 4}
        if self.type == "currency":
            entry["currency_unit"] = "￥"
        if self.type in ("date", "date_time"):
            date_format = "yyyy-MM-dd" if self.type == "date" else "yyyy-MM-dd HH:mm"
            entry |= {"time_zone": "GMT+8", "date_format": date_format}
        if self.type in EMPLOYEE_TYPES | DEPARTMENT_TYPES:
            entry["is_single"] = True
        if self.target:
            entry |= {"target_api_name": self.target, "target_related_list_name": f"target_related_list_{self.name}"}
        if self.type == "master_detail":
            entry["is_create_when_master_create"] = True
        if self.quotes:
            entry["quote_field"] = "__r.".join(self.quotes)
            entry["quote_field_type"] = "select_one"
        return entry


@dataclass(frozen=True, kw_only=True)
class ObjectDef:
    """One object. `shared`: every employee sees all of its records; `secret`: not even the admin sees any."""

    name: str
    label: str
    fields: Mapping[str, FieldDef]
    number_format: str = ""
    shared: bool = False
    secret: bool = False

    @property
    def custom(self) -> bool:
        return self.name.endswith("__c")

    @cached_property
    def references(self) -> tuple[FieldDef, ...]:
        return self.of_type(REFERENCE_TYPES)

    @cached_property
    def masters(self) -> tuple[FieldDef, ...]:
        """The fields that make its records details of others."""
        return self.of_type({"master_detail"})

    @cached_property
    def quotes(self) -> tuple[FieldDef, ...]:
        return self.of_type({"quote"})

    @cached_property
    def formulas(self) -> tuple[FieldDef, ...]:
        """Formulas and roll-ups."""
        return self.of_type({"formula", "count"})

    def of_type(self, types: Iterable[str]) -> tuple[FieldDef, ...]:
        wanted = frozenset(types)
        return tuple(each for each in self.fields.values() if each.type in wanted)

    def entry(self) -> dict[str, Any]:
        """The entry of this object in object/list."""
        return {
            "describeApiName": self.name,
            "describeDisplayName": self.label,
            "defineType": "custom" if self.custom else "package",
            "isActive": True,
            "iconPath": "",
            "iconIndex": 1,
            "hideButton": False,
            "publicObject": False,
        }

    def describe(self) -> dict[str, Any]:
        return {
            "api_name": self.name,
            "display_name": self.label,
            "define_type": "custom" if self.custom else "package",
            "is_active": True,
            "fields": {name: each.describe() for name, each in self.fields.items()},
        }


def drift_field() -> FieldDef:
    """The field that the knob `schema_drift` adds to every object."""
    return FieldDef(name=DRIFT_FIELD, label="后加字段", type="text", define_type="custom")


def object_def(
    name: str,
    label: str,
    *own: FieldDef,
    name_label: str = "名称",
    name_type: str = "text",
    number_format: str = "",
    shared: bool = False,
    secret: bool = False,
) -> ObjectDef:
    """An object with the fields that every object has, and its own."""
    fields = {each.name: each for each in (*_system(name_label, name_type), *own)}
    return ObjectDef(name=name, label=label, fields=fields, number_format=number_format, shared=shared, secret=secret)


def from_describe(describe: Mapping[str, Any]) -> ObjectDef:
    """The object of an object/describe answer (its inner ``describe``), so that users can bring their own objects."""
    try:
        name = describe["api_name"]
        own = tuple(_from_entry(key, entry) for key, entry in describe["fields"].items())
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            "an object must look like the inner describe of object/describe, "
            '{"api_name": "my__c", "display_name": "…", "fields": {"my_field__c": {"label": "…", "type": "text"}}}'
            f"; got {str(describe)[:80]!r} ({error!r})"
        ) from None
    return object_def(name, describe.get("display_name", name), *own)


def _from_entry(name: str, entry: Mapping[str, Any]) -> FieldDef:
    return FieldDef(
        name=name,
        label=entry.get("label", name),
        type=entry.get("type", "text"),
        define_type=entry.get("define_type", "custom"),
        required=bool(entry.get("is_required")),
        unique=bool(entry.get("is_unique")) and entry.get("type") != "auto_number",
        options={str(option["value"]): str(option["label"]) for option in entry.get("options") or ()},
        target=entry.get("target_api_name"),
        decimal_places=int(entry.get("decimal_places") or 0),
        only_get=bool(entry.get("only_get")),
    )


def _system(name_label: str, name_type: str) -> tuple[FieldDef, ...]:
    def system(name: str, label: str, type: str, **more: Any) -> FieldDef:
        return FieldDef(name=name, label=label, type=type, define_type="system", **more)

    return (
        system("_id", "ID", "text"),
        system("name", name_label, name_type, required=name_type != "auto_number"),
        system("record_type", "业务类型", "record_type", options={"default__c": "预设业务类型"}),
        system("version", "版本", "text"),
        system("is_deleted", "是否删除", "true_or_false"),
        FieldDef(name="life_status", label="生命状态", type="select_one", options=LIFE_STATUS),
        FieldDef(name="life_status_before_invalid", label="作废前生命状态", type="text"),
        FieldDef(name="lock_status", label="锁定状态", type="select_one", options={"0": "未锁定", "1": "锁定"}),
        system("create_time", "创建时间", "date_time"),
        system("last_modified_time", "最后修改时间", "date_time"),
        system("created_by", "创建人", "employee"),
        system("last_modified_by", "最后修改人", "employee"),
        FieldDef(name="owner", label="负责人", type="employee"),
        FieldDef(name="owner_department", label="负责人主属部门", type="text"),
        FieldDef(name="owner_department_id", label="负责人主属部门ID", type="text"),
        FieldDef(name="data_own_department", label="归属部门", type="department"),
        FieldDef(name="relevant_team", label="相关团队", type="embedded_object_list"),
        system("object_describe_api_name", "对象", "text"),
        system("extend_obj_data_id", "扩展数据ID", "text"),
    )


def _field(name: str, label: str, type: str = "text", **more: Any) -> FieldDef:
    return FieldDef(
        name=name, label=label, type=type, define_type="custom" if name.endswith("__c") else "package", **more
    )


def _of_erp() -> tuple[FieldDef, ...]:
    """The fields that a synchronisation writes back into a record; people leave them alone."""
    return (
        _field("erp_number__c", "ERP编码"),
        _field("erp_id__c", "ERP内码"),
        _field("sync_status__c", "ERP同步状态", "select_one", options=SYNC_STATUS),
        _field("sync_error__c", "ERP同步错误", "long_text"),
    )


ERP_FIELDS = frozenset(("erp_number__c", "erp_id__c", "sync_status__c", "sync_error__c"))


def _options(*labels: str) -> dict[str, str]:
    return {str(value): label for value, label in enumerate(labels, 1)}


ACCOUNT_LEVELS = _options("重点客户", "普通客户", "一般客户")
INDUSTRIES = _options("制造业", "零售与批发", "信息技术", "医疗健康", "教育", "建筑与房地产", "物流运输", "食品饮料")
TAGS = {"optA": "长期合作", "optB": "价格敏感", "optC": "上市公司", "optD": "出口企业"}
ORDER_STATUS = _options("待确认", "已确认", "已发货", "已收货", "已关闭")
UNITS = {"pcs": "件", "box": "箱", "set": "套", "kg": "千克", "m": "米"}
CATEGORIES = _options("电气元件", "五金工具", "办公用品", "包装材料", "仪器仪表", "劳保用品")
REPORT_STATUS = {"draft": "草稿", "submitted": "已提交", "checked": "已复核"}
SYNC_STATUS = {"synced": "已同步", "failed": "同步失败"}
PAYMENT_TYPES = {"default__c": "预设业务类型", "fee_to_goods__c": "费用转货款"}
PAYMENT_METHODS = _options("现金", "银行转账", "支票", "承兑汇票")


def demo() -> dict[str, ObjectDef]:
    """The objects of the demo company by API name; referenced objects come before the ones that refer to them."""
    objects = (
        object_def(
            "DepartmentObj",
            "部门",
            _field("dept_code", "部门编号"),
            _field("dept_id", "部门ID"),
            _field("parent_id", "上级部门", "department"),
            _field("manager_id", "部门负责人", "employee"),
            _field("status", "状态", "select_one", options={"0": "启用", "1": "停用", "2": "已删除"}),
            name_label="部门名称",
            shared=True,
        ),
        object_def(
            "PersonnelObj",
            "人员",
            _field("user_id", "员工ID"),
            _field("nickname", "昵称"),
            _field("phone", "手机", "phone_number"),
            _field("email", "邮箱", "email"),
            _field("main_department", "主属部门", "department"),
            _field("status", "状态", "select_one", options={"0": "启用", "1": "停用"}),
            _field("date_of_joining", "入职日期", "date"),
            name_label="姓名",
            secret=True,
        ),
        object_def(
            "ProductObj",
            "产品",
            _field("product_code", "产品编码", unique=True),
            _field("category", "产品分类", "select_one", options=CATEGORIES),
            _field("unit", "单位", "select_one", options=UNITS),
            _field("price", "标准价格", "currency"),
            _field("barcode", "条码"),
            _field("product_spec", "规格"),
            _field("product_status", "上下架", "select_one", options={"1": "已上架", "2": "已下架"}),
            _field("is_saleable", "可独立销售", "true_or_false"),
            _field("description__c", "产品介绍", "html_rich_text", only_get=True),
            _field("image__c", "产品图片", "image", only_get=True),
            name_label="产品名称",
            shared=True,
        ),
        object_def(
            "WarehouseObj",
            "仓库",
            _field("number", "仓库编号", unique=True),
            _field("is_default", "是否默认仓", "true_or_false"),
            _field("is_enable", "启用状态", "select_one", options={"1": "启用", "2": "停用"}),
            _field("city", "市"),
            _field("address", "详细地址"),
            _field("contact_phone__c", "联系电话", "phone_number"),
            name_label="仓库名称",
            shared=True,
        ),
        object_def(
            "AccountObj",
            "客户",
            _field("account_no", "客户编号", "auto_number"),
            _field("account_level", "客户级别", "select_one", options=ACCOUNT_LEVELS),
            _field("industry_level1", "行业", "select_one", options=INDUSTRIES),
            _field("tel", "电话", "phone_number"),
            _field("email", "邮件", "email"),
            _field("url", "网址", "url"),
            _field("province", "省", "province"),
            _field("city", "市", "city"),
            _field("address", "详细地址"),
            _field("location", "定位", "location"),
            _field("deal_status", "成交状态", "select_one", options=_options("未成交", "已成交", "多次成交")),
            _field("last_deal_closed_time", "最后成交时间", "date_time"),
            _field("parent_account_id", "上级客户", "object_reference", target="AccountObj"),
            _field("remark", "备注", "long_text"),
            _field("field_registered_on__c", "注册日期", "date"),
            _field("field_credit_limit__c", "信用额度", "currency"),
            _field("field_credit_used__c", "已用额度", "currency"),
            _field(
                "field_credit_left__c",
                "剩余额度",
                "formula",
                difference=("field_credit_limit__c", "field_credit_used__c"),
            ),
            _field("field_tags__c", "客户标签", "select_many", options=TAGS),
            _field("field_vip__c", "VIP", "true_or_false"),
            *_of_erp(),
            name_label="客户名称",
        ),
        object_def(
            "ContactObj",
            "联系人",
            _field("account_id", "客户名称", "object_reference", target="AccountObj"),
            _field("mobile1", "手机", "phone_number"),
            _field("email", "邮件", "email"),
            _field("job_title", "职务"),
            _field("gender", "性别", "select_one", options=_options("男", "女")),
            _field("date_of_birth", "生日", "date"),
            _field("remark", "备注", "long_text"),
            name_label="姓名",
        ),
        object_def(
            "SalesOrderObj",
            "销售订单",
            _field("account_id", "客户名称", "object_reference", target="AccountObj", required=True),
            _field("order_time", "下单日期", "date"),
            _field("order_amount", "销售订单金额", "currency"),
            _field("discount", "整单折扣", "percentile"),
            _field("status", "订单状态", "select_one", options=ORDER_STATUS),
            _field("delivery_date", "交货日期", "date"),
            _field("ship_to_add", "收货地址"),
            _field("remark", "备注", "long_text"),
            _field("confirmed_time", "确认时间", "date_time"),
            _field("field_account_level__c", "客户级别", "quote", quotes=("account_id", "account_level")),
            _field("field_lines_sum__c", "明细合计", "count", sums=("SalesOrderProductObj", "subtotal")),
            *_of_erp(),
            name_label="销售订单编号",
            name_type="auto_number",
            number_format="SO{:08d}",
        ),
        object_def(
            "SalesOrderProductObj",
            "订单产品",
            _field("order_id", "销售订单编号", "master_detail", target="SalesOrderObj", required=True),
            _field("product_id", "产品名称", "object_reference", target="ProductObj", required=True),
            _field("quantity", "数量", "number"),
            _field("sales_price", "销售单价", "currency"),
            _field("discount", "折扣", "percentile"),
            _field("subtotal", "小计", "currency"),
            _field("remark", "备注", "long_text"),
            name_label="订单产品编号",
            name_type="auto_number",
            number_format="SOP{:08d}",
        ),
        object_def(
            "StockObj",
            "库存",
            _field("warehouse_id", "所属仓库", "object_reference", target="WarehouseObj", required=True),
            _field("product_id", "产品名称", "object_reference", target="ProductObj", required=True),
            _field("real_stock", "实际库存", "number"),
            _field("blocked_stock", "冻结库存", "number"),
            _field("available_stock", "可用库存", "number"),
            _field("safety_stock", "安全库存", "number"),
            name_label="库存编号",
            name_type="auto_number",
            number_format="ST{:08d}",
            shared=True,
        ),
        object_def(
            "object_warehouse__c",
            "仓库档案",
            _field("warehouseId", "仓库编码"),
            _field("warehouseName", "仓库名称"),
            _field("location", "所在城市"),
            _field("capacity", "容量", "number", decimal_places=0),
            _field("currentStock", "当前库存", "number", decimal_places=0),
            name_label="仓库档案编号",
            name_type="auto_number",
            number_format="WD{:06d}",
            shared=True,
        ),
        object_def(
            "object_inventory_report__c",
            "库存报表",
            _field("warehouse__c", "仓库档案", "object_reference", target="object_warehouse__c"),
            _field("product__c", "产品", "object_reference", target="ProductObj"),
            _field("report_date__c", "报表日期", "date"),
            _field("quantity__c", "数量", "number"),
            _field("amount__c", "金额", "currency"),
            _field("status__c", "状态", "select_one", options=REPORT_STATUS),
            _field("checked_by__c", "复核人", "employee"),
            name_label="报表名称",
            shared=True,
        ),
        object_def(
            "PaymentObj",
            "回款",
            FieldDef(
                name="record_type", label="业务类型", type="record_type", define_type="system", options=PAYMENT_TYPES
            ),
            _field("account_id", "客户名称", "object_reference", target="AccountObj", required=True),
            _field("payment_time", "回款日期", "date"),
            _field("payment_amount", "本次回款总金额", "currency"),
            _field("payment_method", "回款方式", "select_one", options=PAYMENT_METHODS),
            _field("remark", "备注", "long_text"),
            name_label="回款编号",
            name_type="auto_number",
            number_format="HK{:08d}",
        ),
        object_def(
            "OrderPaymentObj",
            "回款明细",
            _field("payment_id", "回款编号", "master_detail", target="PaymentObj", required=True),
            _field("order_id", "销售订单编号", "object_reference", target="SalesOrderObj"),
            _field("payment_amount", "本次回款金额", "currency"),
            _field("payment_time", "回款日期", "date"),
            name_label="回款明细编号",
            name_type="auto_number",
            number_format="HKMX{:08d}",
        ),
        object_def(
            "PriceBookObj",
            "价目表",
            _field("price_book_no", "价目表编号"),
            _field("active_status", "启用状态", "select_one", options={"1": "启用", "0": "停用"}),
            _field("is_standard", "标准价目表", "true_or_false"),
            _field("start_date", "有效开始日期", "date"),
            _field("end_date", "有效结束日期", "date"),
            _field("account_range", "适用客户范围"),
            name_label="价目表名称",
            shared=True,
        ),
        object_def(
            "PriceBookProductObj",
            "价目表明细",
            _field("pricebook_id", "价目表名称", "master_detail", target="PriceBookObj", required=True),
            _field("product_id", "产品名称", "object_reference", target="ProductObj", required=True),
            _field("pricebook_price", "价目表价格", "currency"),
            _field("discount", "折扣", "percentile"),
            name_label="价目表明细编号",
            name_type="auto_number",
            number_format="PBP{:08d}",
            shared=True,
        ),
        object_def(
            "AvailableRangeObj",
            "可售范围",
            _field("account_range", "适用客户"),
            _field("product_range", "适用产品"),
            _field("active_status", "启用状态", "select_one", options={"1": "启用", "0": "停用"}),
            name_label="可售范围名称",
            shared=True,
        ),
        object_def(
            "AvailableAccountObj",
            "可售客户",
            _field("available_range_id", "可售范围", "master_detail", target="AvailableRangeObj", required=True),
            _field("account_id", "客户名称", "object_reference", target="AccountObj", required=True),
            name_label="可售客户编号",
            name_type="auto_number",
            number_format="KSKH{:08d}",
            shared=True,
        ),
        object_def(
            "AvailableProductObj",
            "可售产品",
            _field("available_range_id", "可售范围", "master_detail", target="AvailableRangeObj", required=True),
            _field("product_id", "产品名称", "object_reference", target="ProductObj", required=True),
            name_label="可售产品编号",
            name_type="auto_number",
            number_format="KSCP{:08d}",
            shared=True,
        ),
    )
    return {each.name: each for each in objects}
